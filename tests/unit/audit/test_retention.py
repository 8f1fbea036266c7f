"""Records that are older than they must be kept: whole segments go, what remains is still proved, and it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pcgrelay.audit import retention
from pcgrelay.audit import verify as verifying
from pcgrelay.audit.audit_log import AuditLog
from pcgrelay.audit.disk import Disk
from pcgrelay.audit.heads import Heads
from pcgrelay.audit.history import SignedHead, read_newest
from pcgrelay.audit.lines import line_of
from pcgrelay.audit.policy import parse_policy
from pcgrelay.audit.problems import Problems
from pcgrelay.audit.proof import Proof, check, prove
from pcgrelay.audit.report import Report
from pcgrelay.audit.retention import PART, find_old
from pcgrelay.audit.segments import segment_name, segments_of
from pcgrelay.audit.store import LogStore
from pcgrelay.audit.tiles import TileReader
from pcgrelay.audit.turns import PRUNE_FIRST_MS, PRUNE_MS, SYNC_MS
from pcgrelay.audit.verify import keys_of_policy, verify_log
from pcgrelay.audit.writer import LogWriter
from pcgrelay.cli.audit.shown import report_lines
from pcgrelay.config import AuditSettings
from pcgrelay.errors import ProofProblem
from pcgrelay.log.audit_events import AuditPruned
from pcgrelay.log.events import NodeDrainUndone, Record, time_text
from tests.support.machines import examples
from tests.support.waiting import until_async as until
from tests.support.written_logs import NODE, Endorser, FullDisk, keys_in, records_of

NOW = datetime(2027, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
UP = NodeDrainUndone(node="kent-1")


def segments(folder: Path, *ages: float, each: int = 10) -> Path:
    """Segments of so many records, whose first is so many days old."""
    (folder / "log").mkdir(parents=True)
    for index, age in enumerate(ages):
        ts = time_text(NOW - age * DAY)
        lines = (f'{{"n":{number},"ts":"{ts}","event":"x"}}\n' for number in range(index * each, (index + 1) * each))
        (folder / "log" / segment_name(index * each)).write_text("".join(lines))
    return folder


def gone(folder: Path, keep_days: int = 400, signed: int = 1_000_000, now: datetime = NOW) -> int:
    """How many segments go at one look."""
    old = find_old(folder, signed, now, keep_days)
    if old is None:
        return 0
    assert [each.path.name for each in old.segments] == [segment_name(10 * n) for n in range(old.record.segments)]
    assert (old.record.first, old.record.last) == (0, 10 * len(old.segments) - 1)
    return len(old.segments)


@pytest.mark.parametrize(
    ("ages", "count"),
    [
        ((), 0),
        ((500.0,), 0),  # the last one is being written
        ((500.0, 401.0), 1),
        ((500.0, 399.0), 0),  # its last record may be of yesterday a year ago
        ((500.0, 400.5, 400.2, 3.0), 1),  # one at each look
        ((2.0, 1.0, 0.0), 0),
    ],
)
def test_a_segment_goes_when_its_last_record_is_too_old(tmp_path: Path, ages: Sequence[float], count: int) -> None:
    assert gone(segments(tmp_path, *ages)) == count


def test_what_is_not_signed_stays(tmp_path: Path) -> None:
    folder = segments(tmp_path, 500.0, 450.0, 420.0)
    assert gone(folder, signed=9) == 0
    assert gone(folder, signed=10) == 1


def test_a_clock_that_is_wrong_costs_one_part_at_each_look(tmp_path: Path) -> None:
    folder = segments(tmp_path, *(400.0 - n for n in range(400)))
    assert gone(folder) == 0
    assert gone(folder, now=NOW + 3_650 * DAY) == 400 // PART
    # One that is back at 1970 makes nothing old.
    assert gone(folder, now=datetime(1970, 1, 1, tzinfo=UTC)) == 0


def test_records_by_a_clock_that_was_wrong_keep_nothing_longer_or_shorter(tmp_path: Path) -> None:
    ahead = segments(tmp_path / "ahead", 500.0, -3_650.0, -3_649.0, 499.0, 498.0, 10.0)
    assert gone(ahead) == 1
    behind = segments(tmp_path / "behind", 20.0, 19.0, 20_000.0, 18.0)
    assert gone(behind) == 0
    nothing = segments(tmp_path / "nothing", 500.0, 499.0, 3.0)
    (nothing / "log" / segment_name(10)).write_bytes(b"\0" * 4_096)
    assert gone(nothing) == 0


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(1, 500), st.integers(1, 60))
def test_what_becomes_old_in_an_hour_goes_in_that_hour(keep_days: int, each_hour: int) -> None:
    """So the log does not grow for ever, however many segments a day has."""
    count = keep_days * 24 * each_hour
    most = max(1, count // min(PART, retention.PART_EACH_DAY * keep_days))
    assert most >= each_hour


class Clocks:
    """Both clocks, each set by itself."""

    def __init__(self) -> None:
        self.now = NOW
        self.ms = 0

    def wall(self) -> datetime:
        return self.now

    def monotonic_ms(self) -> int:
        return self.ms


class Days:
    """A log over many days, by a clock that is set."""

    def __init__(self, folder: Path, keep_days: int = 5, disk: Disk | None = None) -> None:
        self.folder = folder
        self.disk = disk
        self.clock = Clocks()
        self.told: list[Record] = []
        self.settings = AuditSettings(keep_days=keep_days, kept_streams="all")
        self.log = self.begin()

    def begin(self) -> AuditLog:
        self.log = AuditLog(self.folder, NODE, self.settings, Endorser(), self.told.append, self.clock, disk=self.disk)
        self.log.start()
        return self.log

    async def live(self, days: int, each: int = 40) -> None:
        """Write so many records on each of so many days."""
        for _ in range(days):
            for _ in range(each):
                self.log.emit(UP, "")
            assert await self.log.flush()
            self.clock.now += DAY

    async def look(self) -> None:
        """Let the thread look once for what is too old."""
        self.clock.ms += PRUNE_MS
        assert await self.log.flush()
        await asyncio.to_thread(self._wait_for_turn)

    def _wait_for_turn(self) -> None:
        with self.log._writer._files:
            pass

    @property
    def first(self) -> int:
        return segments_of(self.folder)[0].first

    def examine(self) -> list[str]:
        """What verification says of it by the log's own keys, known from elsewhere."""
        return list(report_lines(self.report(), 80))

    def policy(self) -> str:
        public = keys_in(self.folder).public
        return f"log {public.ed25519.vkey}\nlog {public.ml_dsa_44.vkey}\nquorum none\n"

    def report(self) -> Report:
        return verify_log(self.folder, keys_of_policy(parse_policy(self.policy().encode(), "policy")))


@pytest.fixture
async def days(tmp_path: Path) -> AsyncIterator[Days]:
    made = Days(tmp_path / "audit")
    yield made
    await made.log.stop()


async def test_old_records_go_and_what_remains_is_proved(days: Days) -> None:
    await days.live(9)
    assert len(segments_of(days.folder)) >= 9
    tiles = sorted(path for path in (days.folder / "tile").rglob("*") if path.is_file())
    before = {path: path.read_bytes() for path in tiles}
    while days.first < 100:
        await days.look()
    report = days.report()
    assert (report.problems, report.verdict) == ((), "whole")
    assert report.pruned_told
    assert report.first == days.first
    assert any("the first" in line and "a signed record says so" in line for line in days.examine())
    # Each removal is a record, in the log and beside it.
    records = [record for record in records_of(days.folder) if record["event"] == "audit.pruned"]
    assert [record["first"] for record in records] == [0, *(record["last"] + 1 for record in records[:-1])]
    assert records[-1]["last"] == days.first - 1
    assert [each for each in days.told if isinstance(each, AuditPruned)][-1].last == days.first - 1
    # All hashes stay.
    assert all(path.read_bytes().startswith(data) for path, data in before.items())
    newest = read_newest(days.folder)
    assert newest is not None
    assert TileReader(days.folder, report.signed_size).edge(report.signed_size).root() == newest.checkpoint.root
    policy = parse_policy(days.policy().encode(), "policy")
    for number in (days.first, days.first + 1, report.signed_size - 1):
        proved = check(Proof.parse(prove(days.folder, number).encoded), policy)
        assert proved.record.startswith(b'{"n":%d,' % number)
    with pytest.raises(ProofProblem, match="There is no record 7 "):
        prove(days.folder, 7)


async def test_a_proof_from_before_outlasts_its_record(days: Days) -> None:
    await days.live(9)
    proof = prove(days.folder, 7).encoded
    policy = parse_policy(days.policy().encode(), "policy")
    while days.first <= 7:
        await days.look()
    assert check(Proof.parse(proof), policy).record.startswith(b'{"n":7,')


async def test_a_log_without_its_old_records_goes_on_after_a_restart(days: Days) -> None:
    await days.live(8)
    await days.look()
    first = days.first
    assert first > 0
    await days.log.stop()
    days.begin()
    await days.live(1)
    assert days.log.figures.refusing == ""
    assert (days.report().verdict, days.first) == ("whole", first)


async def test_a_node_that_has_just_started_removes_nothing(days: Days) -> None:
    await days.live(8)
    await days.log.stop()
    days.clock.now += 3_650 * DAY
    for _ in range(3):
        days.begin()
        days.clock.ms += PRUNE_FIRST_MS // 2
        assert await days.log.flush()
        await days.log.stop()
    assert days.first == 0


async def test_more_days_are_kept_from_the_reload_on(days: Days) -> None:
    await days.live(8)
    days.log.apply(AuditSettings(keep_days=400, kept_streams="all"))
    await days.look()
    assert days.first == 0
    days.log.apply(AuditSettings(keep_days=5, kept_streams="all"))
    await days.look()
    assert days.first > 0


async def test_nothing_goes_that_cannot_be_put_on_record(tmp_path: Path) -> None:
    disk = FullDisk()
    days = Days(tmp_path / "audit", disk=disk)
    await days.live(8)
    disk.is_full = True
    await _look_at_full(days)
    assert days.first == 0
    disk.is_full = False
    days.clock.ms += SYNC_MS
    await until(lambda: not days.log.figures.failing)
    while not days.first:
        await days.look()
    assert days.report().verdict == "whole"
    await days.log.stop()


async def _look_at_full(days: Days) -> None:
    days.clock.ms += PRUNE_MS
    days.log.emit(UP, "")
    assert not await days.log.settle(5)


async def test_a_node_that_dies_between_the_record_and_the_removal_removes_it_later(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    await days.live(8)
    with monkeypatch.context() as patch:
        patch.setattr(Disk, "remove", lambda self, path: None)
        await days.look()
    assert days.first == 0
    report = days.report()
    assert (report.problems, report.verdict, report.first) == ((), "whole", 0)
    await days.look()
    assert days.first > 0
    assert days.report().verdict == "whole"


async def test_the_removal_is_signed_before_it_happens(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    await days.live(8)
    signed: list[int] = []

    def remove(self: Disk, path: Path) -> None:
        store = days.log._writer.store
        assert store is not None
        signed.append(store.signed)
        assert records_of(days.folder)[store.signed - 1]["event"] == "audit.pruned"
        path.unlink()

    monkeypatch.setattr(Disk, "remove", remove)
    await days.look()
    assert signed


async def test_an_examination_beside_a_removal_is_made_again(days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    await days.live(8)
    heads = Heads

    def slow(folder: Path, seen: Sequence[SignedHead], problems: Problems) -> Heads:
        made = heads(folder, seen, problems)
        monkeypatch.setattr(verifying, "Heads", heads)
        writer: LogWriter = days.log._writer
        days.clock.ms += PRUNE_MS
        with writer._files:
            writer._prune(writer._look)
        return made

    monkeypatch.setattr(verifying, "Heads", slow)
    report = days.report()
    assert (report.problems, report.verdict) == ((), "whole")
    assert report.first == days.first > 0


def test_a_segment_is_of_a_day_and_late_records_begin_no_other(tmp_path: Path) -> None:
    store = LogStore(tmp_path, keys_in(tmp_path), Disk())
    times = ["2026-11-03T23:59:59", "2026-11-04T00:00:01", "2026-11-03T23:59:30", "2026-11-04T00:00:02"] * 20
    times += ["2026-11-01T00:00:00", "2036-01-01T00:00:00", "2026-11-04T08:00:00"]
    for ts in times:
        assert store.append([line_of(store.size, b'"ts":"%s.000Z","event":"x"}' % ts.encode())]) == 1
    store.sync()
    store.close()
    # One for each day, and for each time the clock was set.
    assert [each.first for each in segments_of(tmp_path)] == [0, 1, 80, 81, 82]
