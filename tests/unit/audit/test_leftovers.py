"""Torn ends and logs before this one are bounded, and what goes is on record and signed before it goes."""

from __future__ import annotations

import os
import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pcgrelay.audit import leftovers, pruner
from pcgrelay.audit.checkpoint import base64_text
from pcgrelay.audit.disk import Disk
from pcgrelay.audit.history import HISTORY, read_newest
from pcgrelay.audit.leftovers import TORN_MOST, find_old_log
from pcgrelay.audit.restarting import OLD, Restart
from pcgrelay.audit.verify import keys_of_itself, verify_log
from pcgrelay.audit.writer import LogWriter
from tests.support.dying_processes import FAR, NOW, Clocks, DyingDisk, Killed, begin, write
from tests.support.written_logs import check_log, records_of

DAY = timedelta(days=1)


def removed(folder: Path) -> list[tuple[str, str]]:
    return [(each["what"], each["file"]) for each in records_of(folder) if each["event"] == "audit.removed"]


def prune(writer: LogWriter) -> None:
    writer._prune(writer._look)
    while writer._pruner.is_busy:
        writer._prune(writer._pruner.step)


# -- torn ends ---------------------------------------------------------------------------------------------------------


def tear(folder: Path, count: int, size: int = 10) -> None:
    """Put torn ends beside the segments, the first of them the oldest."""
    for number in range(count):
        path = folder / "log" / f"000000000000.jsonl.{number:04d}.torn"
        path.write_bytes(b"x" * size)
        when = (NOW - (count - number) * timedelta(minutes=1)).timestamp()
        os.utime(path, (when, when))


def torn(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "log").glob("*.torn"))


def test_the_newest_torn_ends_stay(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    begin(folder, Disk())._close()
    tear(folder, TORN_MOST + 3)
    before = torn(folder)
    writer = begin(folder, Disk())
    assert torn(folder) == before[3:]
    assert removed(folder) == [("torn", f"log/{name}") for name in before[:3]]
    # All of it was signed before it went.
    assert writer.store is not None
    assert writer.store.signed == writer.store.size == len(check_log(folder))


def test_the_bytes_of_torn_ends_are_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "TORN_MOST_BYTES", 1_000)
    folder = tmp_path / "audit"
    begin(folder, Disk())._close()
    tear(folder, 5, 400)
    begin(folder, Disk())
    assert len(torn(folder)) == 2


def test_a_torn_end_is_kept_as_long_as_records_are(tmp_path: Path) -> None:
    folder, clock = tmp_path / "audit", Clocks()
    begin(folder, Disk())._close()
    tear(folder, 2)
    writer = begin(folder, Disk(), clock)
    writer.keep_days = 30
    clock.now += 29 * DAY
    prune(writer)
    assert len(torn(folder)) == 2
    clock.now += 2 * DAY
    # One at each look, so that a clock that is wrong takes little.
    prune(writer)
    assert len(torn(folder)) == 1
    prune(writer)
    assert torn(folder) == []
    assert len(removed(folder)) == 2


def test_a_crash_that_comes_again_and_again_leaves_a_bounded_number(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    for _ in range(TORN_MOST + 5):
        begin(folder, Disk())._close()
        (segment,) = (folder / "log").glob("*.jsonl")
        with segment.open("ab") as sink:
            sink.write(b'{"n":')
    begin(folder, Disk())
    assert len(torn(folder)) == TORN_MOST
    assert verify_log(folder, keys_of_itself).problems == ()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "OLD_LOOKS", 1)


# -- logs before this one ----------------------------------------------------------------------------------------------


def begun_again(folder: Path, disk: Disk, clock: Clocks) -> LogWriter:
    """A log in the place of one that was forked."""
    writer = begin(folder, disk, clock)
    write(writer, 20)
    writer.refuse("A witness knows another history.")
    assert not writer.begin_again(Restart(uid=0, by="", reason="forked"))
    write(writer, 5)
    writer.keep_days = 30
    return writer


def old_logs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"*{OLD}*"))


def test_a_clock_that_is_wrong_for_half_a_day_costs_no_log(tmp_path: Path) -> None:
    folder, clock = tmp_path / "audit", Clocks()
    writer = begun_again(folder, Disk(), clock)
    for _ in range(3):
        clock.now += 3_650 * DAY
        for _ in range(pruner.OLD_LOOKS - 1):
            prune(writer)
        clock.now -= 3_650 * DAY
        prune(writer)
    assert len(old_logs(folder)) == 1
    clock.now += 3_650 * DAY
    for _ in range(pruner.OLD_LOOKS):
        prune(writer)
    assert old_logs(folder) == []


def test_an_old_log_goes_when_its_records_are_too_old(tmp_path: Path, quick: None) -> None:
    folder, clock = tmp_path / "audit", Clocks()
    writer = begun_again(folder, Disk(), clock)
    (name,) = old_logs(folder)
    newest = read_newest(folder / name)
    assert newest is not None
    clock.now += 29 * DAY
    prune(writer)
    assert old_logs(folder) == [name]
    assert verify_log(folder / name, keys_of_itself).problems == ()
    clock.now += 2 * DAY
    prune(writer)
    assert old_logs(folder) == []
    (record,) = [each for each in check_log(folder) if each["event"] == "audit.removed"]
    assert (record["what"], record["file"], record["count"]) == ("log", name, newest.checkpoint.size)
    assert record["root"] == base64_text(newest.checkpoint.root)
    assert writer.store is not None
    assert writer.store.signed > record["n"]


def test_one_old_log_goes_at_each_look(tmp_path: Path, quick: None) -> None:
    folder, clock = tmp_path / "audit", Clocks()
    writer = begun_again(folder, Disk(), clock)
    (name,) = old_logs(folder)
    for number in range(2, 5):
        shutil.copytree(folder / name, folder / f"{name}-{number}")
    clock.now += 3_650 * DAY
    for left in (3, 2, 1, 0):
        prune(writer)
        assert len(old_logs(folder)) == left


def test_nothing_else_is_taken_for_an_old_log(tmp_path: Path, quick: None) -> None:
    folder, clock = tmp_path / "audit", Clocks()
    writer = begun_again(folder, Disk(), clock)
    (name,) = old_logs(folder)
    (folder / f"{OLD}notes").mkdir()
    (folder / f"{OLD}2020-01-01T000000Z").write_text("a file")
    (folder / f"{OLD}2020-01-02T000000Z").symlink_to("/")
    clock.now += 3_650 * DAY
    for _ in range(4):
        prune(writer)
    assert len(old_logs(folder)) == 3
    assert name not in old_logs(folder)


@pytest.mark.parametrize(
    ("name", "last", "goes"),
    [
        ("old-2026-11-03T000000Z", "", True),
        ("old-2026-12-20T000000Z", "", False),
        # The clock was at 1970 when it was moved, and its last head says more.
        ("old-1970-01-01T000000Z", "2026-12-20T00:00:00.000Z", False),
        ("old-1970-01-01T000000Z", "2026-11-03T00:00:00.000Z", True),
        # It was ahead: the log that was begun after it says more.
        ("old-2099-01-01T000000Z", "", True),
        ("old-2099-01-01T000000Z", "2098-12-31T00:00:00.000Z", True),
    ],
)
def test_a_clock_that_was_wrong_keeps_no_log_longer_or_shorter(
    tmp_path: Path, name: str, last: str, goes: bool
) -> None:
    folder, clock = tmp_path / "audit", Clocks()
    begun_again(folder, Disk(), clock)
    (found,) = old_logs(folder)
    (folder / found).rename(folder / name)
    lines = (folder / name / HISTORY).read_bytes().splitlines(keepends=True)
    changed = b'{"ts":"%s"' % last.encode() + lines[-1][lines[-1].index(b',"note"') :]
    (folder / name / HISTORY).write_bytes(changed if last else b"")
    assert (find_old_log(folder, NOW + 60 * DAY, 30) is not None) is goes


def test_a_name_that_is_no_time_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    writer = begun_again(folder, Disk(), Clocks())
    (folder / f"{OLD}2026-99-99T999999Z" / "log").mkdir(parents=True)
    prune(writer)
    assert not writer.failing


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_ends_meanwhile_leaves_a_whole_log_or_none(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setattr(pruner, "FILES_AT_ONCE", 2)
    for steps in range(FAR):
        folder, clock = tmp_path / str(steps), Clocks()
        disk = DyingDisk(random.Random(steps))
        writer = begun_again(folder, disk, clock)
        (name,) = old_logs(folder)
        clock.now += 31 * DAY
        disk.steps = steps
        try:
            prune(writer)
            ended = False
        except Killed:
            ended = True
        disk.steps = FAR
        if fails:
            disk.fail()
        if name in old_logs(folder):
            assert verify_log(folder / name, keys_of_itself).problems == ()
        else:
            assert ("log", name) in removed(folder)
        writer = begin(folder, disk, clock)
        writer.keep_days = 30
        prune(writer)
        assert old_logs(folder) == []
        check_log(folder)
        if not ended:
            return
    raise AssertionError("it never ends")
