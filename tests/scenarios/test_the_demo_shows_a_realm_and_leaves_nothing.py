"""`pcgrelay demo` as people call it: what it tells is true, and afterwards there is neither process nor file of it."""

import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from pcgrelay.demo import store
from pcgrelay.demo.memory import searched
from pcgrelay.demo.nodes import WATCH_S
from tests.scenarios.kit.demo_nodes import demo_process, nodes_of, short_folder, wait_for_nodes
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

DEADLINE_S = 60
NODES = [
    "relay-1.hub.example",
    "relay-2.hub.example",
    "kent-1.kent.police.example",
    "met-1.met.police.example",
    "probation-1.probation.justice.example",
]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def demo(folder: Path, *options: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return demo_process(*options, cwd=Path.cwd(), temporary=folder, deadline_s=DEADLINE_S)


def assert_nothing_is_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    assert nodes_of(folder) == []


def test_it_moves_everything_and_finds_no_marker_in_a_relay(tmp_path: Path) -> None:
    with demo(tmp_path, "--json") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    facts: dict[str, Any] = json.loads(out)
    assert facts["ok"]
    assert len(facts["ways"]) == 6
    assert sorted(len(way["via"]) for way in facts["ways"]) == [1, 1, 2, 2, 2, 2]
    assert {way["group"] for way in facts["ways"]} == {"X25519MLKEM768"}
    relays = [search for search in facts["searches"] if search["role"] == "relay"]
    others = [search for search in facts["searches"] if search["role"] != "relay"]
    assert [search["markers_found"] for search in relays] == [0, 0]
    assert all(search["control_found"] for search in facts["searches"])
    assert len(others) == 4
    assert all(search["markers_found"] for search in others)
    assert_nothing_is_left(tmp_path)


@pytest.mark.tier_all
def test_a_person_reads_what_it_did(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    assert "\n  kent-1 -------- relay-1 -------- relay-2 -------- met-1\n                     |\n" in out
    assert "\\x" not in out
    assert "The relays never held it in the clear" in out
    assert f"Every process has ended and {tmp_path}" in out
    assert_nothing_is_left(tmp_path)


@pytest.mark.tier_all
def test_with_a_store_it_shows_the_fleet_on_a_screen_of_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    text = bytearray()
    reader = threading.Thread(target=read_screen, args=(ours, text))
    reader.start()
    with demo_process("--fleet", cwd=Path.cwd(), temporary=tmp_path, deadline_s=DEADLINE_S, out=theirs) as process:
        os.close(theirs)
        _, err = process.communicate(timeout=2 * DEADLINE_S)
    reader.join(DEADLINE_S)
    os.close(ours)
    assert (process.returncode, err) == (0, "")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text.decode()).replace("\r", "").splitlines()
    assert any(line.startswith("A store of three members, an etcd, answers (") for line in lines)
    first = lines.index("$ pcgrelay fleet -c relay-1.toml")
    last = lines.index("5 nodes, 5 of them ready.")
    head, *rows = lines[first + 1 : last]
    assert head.split()[:2] == ["NODE", "STATE"]
    # Each node on one line, whole.
    assert [row.split()[:2] for row in rows] == [[node, "ready"] for node in NODES]
    assert max(map(len, lines)) <= 80
    assert_nothing_is_left(tmp_path)


def read_screen(descriptor: int, text: bytearray) -> None:
    """Whatever is written to a terminal, until nobody has it open any more."""
    with suppress(OSError):
        while piece := os.read(descriptor, 1 << 16):
            text += piece


@pytest.mark.tier_all
def test_programs_get_the_fleet_too(tmp_path: Path) -> None:
    with demo(tmp_path, "--fleet", "--json") as process:
        out, err = process.communicate(timeout=2 * DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    fleet = json.loads(out)["fleet"]
    assert fleet["status"]["live"]
    assert [node["node"] for node in fleet["nodes"]] == NODES
    assert_nothing_is_left(tmp_path)


def test_interrupted_while_its_store_does_not_answer_it_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, temporary = tmp_path / "bin", tmp_path / "tmp"
    programs.mkdir()
    temporary.mkdir()
    etcd = programs / "etcd"
    # Lives, says nothing, and is no member.
    etcd.write_text("#!/bin/sh\nexec sleep 600\n")
    etcd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with demo(temporary, "--fleet") as process:
        until(lambda: [*temporary.glob("*/etcd-3.log")], DEADLINE_S, "the members are started")
        process.send_signal(signal.SIGINT)
        # Sooner than it would give the store up.
        process.communicate(timeout=store.READY_S / 2)
    assert process.returncode == 130
    assert_nothing_is_left(temporary)


def test_a_store_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with demo(tmp_path, "--fleet") as process:
        _, err = process.communicate(timeout=DEADLINE_S)
    sentence = "etcd is not installed, and --fleet needs it: apt install etcd-server, or leave --fleet out."
    assert (process.returncode, err) == (1, f"pcgrelay: {sentence}\n")
    assert_nothing_is_left(tmp_path)


@pytest.mark.tier_all
def test_kept_up_it_can_be_reached_until_ctrl_c(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep", "--json") as process:
        assert process.stdout is not None
        text = ""
        while text.rstrip(" ") != "}\n" and not text.endswith("\n}\n"):
            line = process.stdout.readline()
            assert line, f"it ended instead: {process.communicate(timeout=DEADLINE_S)[1]}"
            text += line
        addresses = json.loads(text)["addresses"]
        assert len(addresses) == 6
        for address in addresses:
            with urllib.request.urlopen(address["url"], timeout=10) as answer:
                assert answer.read().decode() == f"{address['service']} answers\n"
        body = os.urandom(3 << 20)
        request = urllib.request.Request(addresses[0]["url"], data=body, method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert json.load(answer)["sha256"] == hashlib.sha256(body).hexdigest()
        # A process that takes the place of another is a node as well, and ends with the rest.
        (config,) = tmp_path.glob("*/kent-1.toml")
        upgrade = [sys.executable, "-m", "pcgrelay.cli", "upgrade", "-c", config]
        subprocess.run(upgrade, check=True, capture_output=True, timeout=DEADLINE_S)
        time.sleep(3 * WATCH_S)  # it looks whether a node has ended
        with urllib.request.urlopen(addresses[0]["url"], timeout=10) as answer:
            assert answer.read().decode() == f"{addresses[0]['service']} answers\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, out, err) == (0, "", "")
    assert_nothing_is_left(tmp_path)


@pytest.mark.tier_all
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path) as process:
        wait_for_nodes(tmp_path, 3)
        process.send_signal(number)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert_nothing_is_left(tmp_path)


@pytest.mark.tier_all
def test_a_node_that_dies_is_named(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        relay = wait_for_nodes(tmp_path, 5)
        victim = next(pid for pid in relay if b"relay-2.toml" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err.startswith("pcgrelay: relay-2 was ended by signal 9")
    assert err.count("\n") == 1
    assert_nothing_is_left(tmp_path)


def test_the_search_counts_what_lies_across_its_chunks() -> None:
    # Made here and held nowhere else: halves, so that the whole is in no other object of this process.
    wanted = os.urandom(32)
    kept = bytearray((16 << 20) + 7)
    before = searched(os.getpid(), [wanted]).found[0]
    for at in range(0, len(kept) - 32, 65_521):  # a prime: every place relative to a chunk comes up
        kept[at : at + 32] = wanted
    held = len(range(0, len(kept) - 32, 65_521))
    after = searched(os.getpid(), [wanted]).found[0]
    # The search's own buffer is a part of the memory that it reads, and holds some of them once more.
    assert after - before >= held
