"""STATE/approved: two generations, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay.errors import ConfigError
from pcgrelay.state.approved import POLICY, TRUST, ApprovedStore, Pointer, Used


def pointer(digest: str) -> Pointer:
    return Pointer(folder="", digest=digest, version="1", files={}, taken="2026-11-03T09:12:00Z")


def files(text: str) -> dict[str, bytes]:
    return {POLICY: text.encode(), TRUST: b"PEM"}


def test_two_are_kept_and_older_ones_go(tmp_path: Path) -> None:
    store = ApprovedStore(tmp_path)
    assert store.read() is None
    for number in range(1, 5):
        written = store.write(files(f"text {number}"), pointer(f"{number}"))
        assert store.read() == written
    held, before = store.read(), store.before()
    assert held is not None
    assert before is not None
    assert (held.text, before.text) == ("text 4", "text 3")
    assert (held.path / POLICY).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in store.folder.iterdir() if path.is_dir()) == ["000003", "000004"]


def test_a_file_that_was_touched_makes_the_one_before_hold(tmp_path: Path) -> None:
    store = ApprovedStore(tmp_path)
    store.write(files("one"), pointer("1"))
    newest = store.write(files("two"), pointer("2"))
    (newest.path / POLICY).write_text("three")
    held = store.read()
    assert held is not None
    assert (held.text, held.is_older) == ("one", True)
    (held.path / TRUST).unlink()
    with pytest.raises(ConfigError, match="approve --first"):
        store.read()


def test_a_pointer_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    store = ApprovedStore(tmp_path)
    store.write(files("one"), pointer("1"))
    (tmp_path / "evil").mkdir()
    for folder, name in (("../evil", POLICY), ("000001", "../../evil/x")):
        store._pointer.write(Pointer(folder=folder, digest="1", version="1", files={name: "", POLICY: ""}, taken=""))
        store._pointer.path.with_name("approved.json.before").unlink()
        with pytest.raises(ConfigError):
            store.read()


def test_another_digest_of_the_same_files_leaves_what_was_before(tmp_path: Path) -> None:
    store = ApprovedStore(tmp_path)
    store.write(files("one"), pointer("1"))
    held = store.write(files("two"), pointer("2"))
    again = store.rehash(held, "2b", "2")
    assert store.read() == again
    assert (again.pointer.digest, again.pointer.version, again.text) == ("2b", "2", "two")
    before = store.before()
    assert before is not None
    assert before.text == "one"


def test_acts_and_holds_are_remembered(tmp_path: Path) -> None:
    store = ApprovedStore(tmp_path)
    assert store.used() == Used()
    used = Used(acts={"aa": "2026-11-06T09:12:00Z"}, holds={"bb": ("a@b.example",)})
    store.keep_used(used)
    assert store.used() == used
    (store.folder / "used.json").write_text("{")
    with pytest.raises(ConfigError, match="no act is allowed"):
        store.used()
