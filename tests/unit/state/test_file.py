"""A file of state: two generations, and nothing is ever guessed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from pcgrelay import files
from pcgrelay.errors import PcgrelayError
from pcgrelay.state.file import BEFORE, Found, StateFile


class Kept(Struct, frozen=True):
    number: int


def of(folder: Path, kind: str = "test", version: int = 1) -> StateFile[Kept]:
    return StateFile(folder / "kept.json", kind, version, Kept)


def test_what_was_never_written_is_nothing(tmp_path: Path) -> None:
    assert of(tmp_path).read() == (Found.NOTHING, None)


def test_the_newest_is_read_and_the_one_before_is_kept(tmp_path: Path) -> None:
    file = of(tmp_path)
    for number in range(3):
        file.write(Kept(number))
        assert file.read() == (Found.NEWEST, Kept(number))
    file.path.unlink()
    assert file.read() == (Found.BEFORE, Kept(1))
    file.write(Kept(7))
    assert file.read() == (Found.NEWEST, Kept(7))
    assert file.path.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept.json", "kept.json" + BEFORE]


def test_a_newer_version_or_another_kind_is_passed_over(tmp_path: Path) -> None:
    of(tmp_path, version=2).write(Kept(1))
    assert of(tmp_path).read() == (Found.LOST, None)
    assert of(tmp_path, kind="other", version=2).read() == (Found.LOST, None)
    # What could not be read does not become the one before.
    of(tmp_path).write(Kept(2))
    assert not (tmp_path / ("kept.json" + BEFORE)).exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_whatever_becomes_of_the_newest_the_one_before_holds(tmp_path: Path, data: st.DataObject) -> None:
    file = of(tmp_path)
    file.write(Kept(1))
    file.write(Kept(2))
    whole = file.path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 2))
    if data.draw(st.booleans()):
        torn = whole[:place]
    else:
        torn = whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    file.path.write_bytes(torn)
    found, value = file.read()
    # A bit of the white space or of a key's case cannot be told; a number never changes.
    assert (found, value) in ((Found.BEFORE, Kept(1)), (Found.NEWEST, Kept(2)))
    file.path.write_bytes(torn)
    (tmp_path / ("kept.json" + BEFORE)).write_bytes(b"")
    assert file.read()[0] in (Found.LOST, Found.NEWEST)


def test_a_write_that_fails_leaves_what_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = of(tmp_path)
    file.write(Kept(1))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(PcgrelayError, match="no space left on device"):
        file.write(Kept(2))
    assert file.read() == (Found.NEWEST, Kept(1))
