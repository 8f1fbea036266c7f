"""STATE/approved/changes: what people signed is kept for a while, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay.errors import RunError
from pcgrelay.state import changes
from pcgrelay.state.approved import CHANGE, POLICY, REVOKED, SIGNERS, ApprovedStore, Pointer
from pcgrelay.state.changes import CHANGES_MOST, TAKEN, ChangeArchive, Taken
from pcgrelay.state.file import StateFile


def pointer(number: int, *, is_first: bool = False) -> Pointer:
    taken = "2026-11-03T09:12:00Z"
    return Pointer(folder="", digest=f"{number}", version="1", files={}, taken=taken, change="CR", is_first=is_first)


def signed(number: int) -> dict[str, bytes]:
    return {
        POLICY: b"[node]",
        SIGNERS: b"signers %d" % number,
        CHANGE: b"text %d" % number,
        f"{CHANGE}.a@b.sig": b"signature %d" % number,
    }


def test_a_change_is_kept_with_those_who_judged_it(tmp_path: Path) -> None:
    store = ApprovedStore(tmp_path)
    store.write(signed(1) | {REVOKED: b"KRL 1"}, pointer(1, is_first=True))
    store.write(signed(2), pointer(2))
    store.write({POLICY: b"[node]"}, pointer(3))
    store.write(signed(4), pointer(4))
    kept = store.changes.read()
    assert [each.taken.digest for each in kept] == ["4", "2", "1"]
    # The first is judged by its own signers, as it was; others by those that held before. Without any: by their own.
    assert [each.files.get(SIGNERS) for each in kept] == [None, b"signers 1", b"signers 1"]
    assert [each.files.get(REVOKED) for each in kept] == [None, b"KRL 1", b"KRL 1"]
    assert kept[1].files[f"{CHANGE}.a@b.sig"] == b"signature 2"
    assert POLICY not in kept[1].files
    assert (kept[1].path / CHANGE).stat().st_mode & 0o777 == 0o600


def test_so_many_are_kept_and_no_more(tmp_path: Path) -> None:
    archive = ChangeArchive(tmp_path)
    for number in range(CHANGES_MOST + 3):
        archive.add(f"{number}", "", "", {CHANGE: b"text"})
    kept = archive.read()
    assert len(kept) == len(list((tmp_path / "changes").iterdir())) == CHANGES_MOST
    assert (kept[0].taken.digest, kept[-1].taken.digest) == (f"{CHANGES_MOST + 2}", "3")


def test_what_was_touched_or_not_finished_is_none(tmp_path: Path) -> None:
    archive = ChangeArchive(tmp_path)
    for number in range(5):
        archive.add(f"{number}", "", "", {CHANGE: b"text"})
    paths = [each.path for each in reversed(archive.read())]
    (paths[0] / CHANGE).write_bytes(b"another text")
    (paths[1] / TAKEN).unlink()
    foreign = Taken(digest="2", taken="", change="", files={"../../etc/passwd": ""})
    StateFile(paths[2] / TAKEN, "approved-change", 1, Taken).write(foreign)
    (paths[3] / TAKEN).write_bytes(b"\xff\x00")
    assert [each.taken.digest for each in archive.read()] == ["4"]


def test_a_folder_that_cannot_be_written_costs_no_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise RunError("The disk is full.")

    store = ApprovedStore(tmp_path)
    monkeypatch.setattr(changes, "write_new", refused)
    store.write(signed(1), pointer(1, is_first=True))
    held = store.read()
    assert held is not None
    assert held.files[CHANGE] == b"text 1"
    assert store.changes.read() == []
    assert list(store.changes.folder.iterdir()) == []
