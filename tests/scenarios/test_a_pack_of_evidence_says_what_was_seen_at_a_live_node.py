"""Controls are tested at live nodes, a pack is written and sealed, and what was changed in it is found elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import HOST
from tests.scenarios.kit.reload_setup import command
from tests.scenarios.kit.two_edges import Pair, pair
from tests.support.ports import free_port

pytestmark = pytest.mark.tier_test

# compliance-trestle and all that it needs, by their digests.
REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements" / "oscal.txt"
# What depends on the machine of the test, and not on the node: the clock and swap; and on paper and a second
# link, which the files of this test do not have.
OF_MACHINE = {"K9", "M1", "M4", "N3", "L4", "R3"}


# Times, counters, and what is made from them: identifiers of a document, and digests.
CHANGING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b[0-9a-f]{40,}\b"), "DIGEST"),
    (re.compile(r"\d[\d.,:]*"), "N"),
)


def masked(folder: Path) -> dict[str, str]:
    """The files of a pack, without what may differ between two runs."""
    found = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        text = path.read_text()
        for pattern, mark in CHANGING:
            text = pattern.sub(mark, text)
        found[str(path.relative_to(folder))] = text
    return found


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Pair]:
    exports = [{"service": "custody", "target": f"{HOST}:{free_port()}"}]
    imports = [{"service": "custody@kent.police.example", "listen": f"{HOST}:{free_port()}"}]
    with pair(tmp_path / "realm", exports, imports) as made:
        yield made


def test_a_node_is_tested_and_the_pack_is_checked_elsewhere(nodes: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    done = command("assure", "run", "-c", nodes.exporter.config, "--out", folder)
    assert done.returncode in (0, 8), done.stderr
    results = {each["id"]: each for each in json.loads((folder / "results.json").read_text())["results"]}
    bad = {id: each["observed"] for id, each in results.items() if each["outcome"] in ("failed", "broken")}
    assert not bad.keys() - OF_MACHINE, bad
    # It was started by hand, and not by a unit: that is a question, and no failure of a developer's demo.
    assert (results["L1"]["outcome"], "by hand" in results["L1"]["observed"]) == ("told", True), results["L1"]
    assert "The machine says: it was started by hand" in (folder / "questions.md").read_text()
    # What this edge has a listener for was tried at it.
    for id in ("K1", "K2", "K3", "K5", "K8", "L2", "N2", "N9"):
        assert results[id]["outcome"] == "passed", results[id]
    # K9 depends on this machine by its swap area alone: a node has no core dumps by itself.
    assert "core dump" not in results["K9"]["observed"].replace("no core dumps", ""), results["K9"]
    assert '"source":"127.6.6.6"' in nodes.exporter.log_text
    assert command("assure", "verify", folder).returncode == 0
    # Another run differs in times and counters alone.
    again = tmp_path / "again"
    assert command("assure", "run", "-c", nodes.exporter.config, "--out", again).returncode == done.returncode
    assert masked(folder) == masked(again)
    assert "0 changes." in command("assure", "diff", folder, again).stdout
    path = folder / "inventory" / "crypto.json"
    path.write_bytes(path.read_bytes().replace(b"X25519MLKEM768", b"X25519MLKEM769", 1))
    changed = command("assure", "verify", folder)
    assert changed.returncode == 8
    assert "inventory/crypto.json was changed" in changed.stderr
    # The node goes on as before.
    assert command("status", "-c", nodes.exporter.config).returncode in (0, 3, 4)


@pytest.mark.tier_all
@pytest.mark.timeout(600)
def test_a_tool_of_assurers_validates_the_results(nodes: Pair, tmp_path: Path) -> None:
    folder, venv, space = tmp_path / "evidence", tmp_path / "venv", tmp_path / "space"
    command("assure", "run", "-c", nodes.importer.config, "--out", folder)
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "pip"), "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    subprocess.run([*pip, "-r", str(REQUIREMENTS)], check=True, timeout=500)
    space.mkdir()
    trestle = str(venv / "bin" / "trestle")
    file = str(folder / "oscal-assessment-results.json")
    for arguments in (
        ["init", "--local"],
        ["import", "-f", file, "-o", "evidence"],
        ["validate", "-t", "assessment-results", "-n", "evidence"],
    ):
        done = subprocess.run(
            [trestle, *arguments], cwd=space, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "VALID" in done.stdout + done.stderr
