"""The places where a node keeps anything, and what stands there that nobody knows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import structs

from pcgrelay.assure.places import AUDIT, STATE, UNKNOWN, OpenFile, open_files, places, state_contents
from pcgrelay.config import Config
from pcgrelay.errors import RunError
from pcgrelay.gateway import audit, cutover_files, days, drill_files, statements, witness_files
from pcgrelay.services import retired, shares
from pcgrelay.state import approved
from pcgrelay.state.file import BEFORE
from pcgrelay.state.folder import LOCK
from tests.support.evidence_examples import STATUS, evidence


def config(folder: Path) -> Config:
    found = evidence(folder).config
    return structs.replace(found, node=structs.replace(found.node, state=folder / "state"))


def said(config: Config, opened: tuple[OpenFile, ...] | None) -> dict[str, str]:
    return {each.where: each.what for each in places(config, STATUS, opened)}


def test_the_folder_of_state_is_listed(tmp_path: Path) -> None:
    (tmp_path / "drills").mkdir()
    for name in ("a", "b"):
        (tmp_path / "drills" / name).write_text("x")
    (tmp_path / "shares.json").write_text("x")
    (tmp_path / "audit").mkdir()
    assert list(state_contents(tmp_path)) == [("drills/", 2), ("shares.json", 1)]
    assert list(state_contents(tmp_path / "none")) == []


def test_each_entry_says_what_it_holds_and_whose_names_are_in_it(tmp_path: Path) -> None:
    made = config(tmp_path)
    state = tmp_path / "state"
    (state / "approved" / "000001").mkdir(parents=True)
    for name in ("approved/000001/allowed_signers", "outlets.json", f"outlets.json{BEFORE}", "strange"):
        (state / name).write_text("x")
    found = said(made, ())
    assert "addresses of the staff who propose, sign" in found["STATE/approved/"]
    assert found["STATE/outlets.json"] == found[f"STATE/outlets.json{BEFORE}"]
    assert "staff" in found["STATE/outlets.json"]
    assert found["STATE/strange"] == f"1 file: {UNKNOWN}"


def test_files_that_a_process_writes_are_found(tmp_path: Path) -> None:
    written, read = tmp_path / "written", tmp_path / "read"
    read.write_text("x")
    with written.open("w") as one, read.open() as other:
        found = {each.path: each.descriptor for each in open_files(os.getpid())}
        assert found[str(written)] == one.fileno()
        assert str(read) not in found
        assert other.fileno() not in found.values()
    with pytest.raises(RunError):
        open_files(2**22 + 1)  # beyond the greatest number that a process has


def test_a_file_of_no_known_place_is_named_without_its_folder(tmp_path: Path) -> None:
    made = config(tmp_path)
    opened = (
        OpenFile(descriptor=1, path="/dev/shm/out"),
        OpenFile(descriptor=7, path=str(tmp_path / "state" / "audit" / "log")),
        OpenFile(descriptor=8, path="/tmp/hidden-folder/dump"),
    )
    found = said(made, opened)
    assert found["a file that the node has open for writing: dump"] == UNKNOWN
    assert not any("hidden-folder" in where or ": log" in where or ": out" in where for where in found)


def test_a_log_in_a_file_is_no_journal(tmp_path: Path) -> None:
    made = config(tmp_path)
    assert any(where.endswith("the journal") for where in said(made, ()))
    in_file = said(made, (OpenFile(descriptor=2, path="/var/log/kent-1"),))
    assert any(where.endswith("which is a file") for where in in_file)
    assert not any("open for writing" in where for where in in_file)


def test_what_cannot_be_seen_is_said(tmp_path: Path) -> None:
    assert "run this as root" in said(config(tmp_path), None)["files that the node has open"]


def test_each_name_in_the_folder_of_state_is_described() -> None:
    folders = {approved.FOLDER, cutover_files.FOLDER, drill_files.FOLDER, witness_files.FOLDER}
    files = {days.NAME, statements.NAME, retired.NAME, shares.NAME, LOCK}
    assert set(STATE) == folders | files
    assert AUDIT == audit.FOLDER
