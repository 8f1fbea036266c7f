"""`pcgrelay demo --cutover` as people call it: a service moves, a fault is not noticed, only the report is left."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.demo_nodes import demo_process, nodes_of, short_folder, wait_for_nodes

pytestmark = [pytest.mark.tier_test, pytest.mark.timeout(600)]

DEADLINE_S = 400


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with short_folder() as folder:
        yield folder


def demo(folder: Path, *options: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """It runs in a folder of its own, with its temporary files in another one."""
    (folder / "t").mkdir()
    return demo_process("--cutover", *options, cwd=folder, temporary=folder / "t", deadline_s=DEADLINE_S)


def assert_only_this_is_left(folder: Path, *names: str) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted([*names, "t"])
    assert list((folder / "t").iterdir()) == []
    assert nodes_of(folder) == []


def assert_it_moved(facts: dict[str, Any]) -> None:
    """What it says of itself, once more."""
    assert facts["problems"] == []
    assert facts["ok"]
    assert facts["arrived"]
    assert facts["lost"] == 0
    assert sum(stage["failed"] for stage in facts["stages"]) == 0
    assert sum(stage["over_new"] for stage in facts["stages"]) > 0
    assert facts["fault"]["back_after_s"] < 5
    assert facts["fault"]["moved"] > 0
    assert facts["fault"]["failed"] == 0
    assert facts["others"]["failed"] == 0
    assert facts["others"]["kept_broken"] == 0
    assert facts["report"]["verdicts"] > 0


def assert_the_report_is_whole(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"part1.html", "part1.md", "part2.html", "part2.md", "facts.json", "plan.toml", "SHA256SUMS"} <= names
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    part1 = (folder / "part1.md").read_text()
    assert "fell back" in part1.lower()
    assert not any(name in part1 for name in ("cjx", "police.example", "127.0.0", "kent-1"))


@pytest.mark.tier_all
def test_in_three_steps_it_moves_and_nobody_notices(tmp_path: Path) -> None:
    with demo(tmp_path, "--quick", "--json", "--out", "report") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, ""), out
    facts: dict[str, Any] = json.loads(out)
    assert_it_moved(facts)
    assert_the_report_is_whole(tmp_path / "report")
    assert_only_this_is_left(tmp_path, "report")


@pytest.mark.tier_all
def test_a_person_reads_all_five_steps(tmp_path: Path) -> None:
    with demo(tmp_path, "--out", "report") as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, ""), out
    lines = out.splitlines()
    for share in ("1 %", "5 %", "25 %"):
        assert sum(f"  {share} of new connections take the gateway." in line for line in lines) == 2, out
    for share in ("50 %", "100 %"):
        assert sum(f"  {share} of new connections take the gateway." in line for line in lines) == 1, out
    assert "A FAULT" in out
    assert "It fell back by itself" in out
    assert "none failed." in lines[-2]
    assert lines[-1].endswith("The report is in report.")
    assert "\\x" not in out
    assert_the_report_is_whole(tmp_path / "report")
    assert_only_this_is_left(tmp_path, "report")


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(each, marks=pytest.mark.tier_all) for each in (signal.SIGTERM, signal.SIGHUP))],
)
def test_interrupted_it_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with demo(tmp_path, "--quick") as process:
        wait_for_nodes(tmp_path, 5)
        process.send_signal(number)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 130
    assert_only_this_is_left(tmp_path)


@pytest.mark.tier_all
def test_a_node_that_dies_is_named(tmp_path: Path) -> None:
    with demo(tmp_path, "--quick") as process:
        nodes = wait_for_nodes(tmp_path, 5)
        victim = next(pid for pid in nodes if b"surrey-1.toml" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err.startswith("pcgrelay: surrey-1 was ended by signal 9")
    assert err.count("\n") == 1
    assert_only_this_is_left(tmp_path)
