"""The history of heads is bounded with the segments: of records that are gone, the last head of each day stays."""

from __future__ import annotations

import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pcgrelay.audit import pruner, thinning
from pcgrelay.audit.disk import Disk
from pcgrelay.audit.history import HISTORY, SignedHead, history_bytes, history_line, merged, read_history
from pcgrelay.audit.note import COSIGNATURE_ED25519, NoteSigner
from pcgrelay.audit.pruner import Pruner
from pcgrelay.audit.segments import segments_of
from pcgrelay.audit.store import LogStore
from pcgrelay.audit.thinning import DRAFT, Thinning, bytes_before
from pcgrelay.audit.verify import keys_of_itself, verify_log
from pcgrelay.audit.writer import LogWriter
from tests.support.audit_logs import AuditLog
from tests.support.dying_processes import FAR, Clocks, DyingDisk, Killed, begin, write
from tests.support.written_logs import LyingDisk, records_of

EACH, OF_DAY, HEADS = 10, 8, 40
DAYS = 12


def line(size: int) -> str:
    """When a head was signed: eight on each day."""
    day, turn = divmod(size // EACH - 1, OF_DAY)
    return f"2026-11-{1 + day:02d}T{turn:02d}:00:00.000Z"


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """A log with heads of five days, each of them cosigned once."""
    made = AuditLog(tmp_path / "audit")
    with (made.folder / HISTORY).open("ab") as sink:
        for _ in range(HEADS):
            made.grow(EACH)
            sink.write(history_line(line(made.size), made.head(is_whole=False)))
            sink.write(history_line(line(made.size), made.head(is_whole=False, is_witnessed=True)))
    return made


def heads(folder: Path) -> list[tuple[int, int]]:
    """Sizes of the heads, and how many signatures each has."""
    found = merged(head for head in read_history(folder) if isinstance(head, SignedHead))
    return [(head.checkpoint.size, len(head.note.signatures)) for head in found]


def thin(folder: Path, first: int) -> int:
    """Thin the history at once; returns the lines that went."""
    copy = Thinning(folder, first, history_bytes(folder), Disk())
    while not copy.is_done:
        copy.step()
    copy.finish(history_bytes(folder))
    copy.draft.path.rename(folder / HISTORY)
    copy.close()
    return copy.dropped


@pytest.mark.parametrize("piece", [500, 5_000, 1 << 20])
@pytest.mark.parametrize(
    ("first", "old"),
    [
        (0, []),
        (9, []),
        (85, [80]),
        (160, [80, 160]),
        (215, [80, 160, 210]),  # the last of the records that are gone
        (400, [80, 160, 240, 320, 400]),
    ],
)
def test_the_last_head_of_each_day_stays(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, piece: int, first: int, old: list[int]
) -> None:
    monkeypatch.setattr(thinning, "PIECE_BYTES", piece)
    dropped = thin(log.folder, first)
    kept = [*old, *range(first - first % EACH + EACH, log.size + 1, EACH)]
    assert heads(log.folder) == [(size, 2) for size in kept]
    assert dropped == 2 * (HEADS - len(kept))
    # And again nothing goes.
    assert thin(log.folder, first) == 0


def test_what_cannot_be_read_stays_for_whoever_examines_it(log: AuditLog) -> None:
    path = log.folder / HISTORY
    lines = path.read_bytes().splitlines(keepends=True)
    odd = [b"\0" * 4_096 + b"\n", b'{"ts":"x","note":"y"}\n', b"\xff\n", b"x" * 300_000 + b"\n"]
    path.write_bytes(b"".join([*lines[:30], *odd, *lines[30:]]))
    assert thin(log.folder, 400) > 0
    assert all(each in path.read_bytes() for each in odd)
    good = [each for each in path.read_bytes().splitlines(keepends=True) if each not in odd]
    assert [_size(each) for each in good] == [80, 80, 160, 160, 240, 240, 320, 320, 400, 400]


def test_the_part_that_may_go_is_found_without_reading_all(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thinning, "_NEAR_BYTES", 1)
    data = (log.folder / HISTORY).read_bytes()
    for first in (0, 5, 10, 123, 200, 399, 400, 10_000):
        wanted = sum(len(each) for each in data.splitlines(keepends=True) if 0 < _size(each) <= first)
        found = bytes_before(log.folder, first, len(data))
        assert abs(found - wanted) < 3_000, first
    (log.folder / HISTORY).write_bytes(bytes(1 << 20))
    assert bytes_before(log.folder, 100, 1 << 20) == 0


def _size(data: bytes) -> int:
    return int(data.split(b"\\n")[1])


# -- by a process ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of twelve days, whose first seven are old."""
    folder, clock = tmp_path_factory.mktemp("grown") / "audit", Clocks()
    writer = begin(folder, Disk(), clock)
    for _ in range(DAYS):
        for _ in range(6):
            write(writer, 7)
        clock.now += timedelta(days=1)
    writer._close()
    return folder


def grown(template: Path, folder: Path, disk: Disk) -> tuple[LogWriter, Clocks]:
    """That log, and a process that goes on with it."""
    shutil.copytree(template, folder)
    clock = Clocks()
    clock.now += timedelta(days=DAYS)
    writer = begin(folder, disk, clock)
    writer.keep_days = 5
    return writer, clock


def prune(writer: LogWriter) -> None:
    """Look, and do all that this begins."""
    writer._prune(writer._look)
    while writer._pruner.is_busy:
        writer._prune(writer._pruner.step)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner, "GAIN_LEAST_BYTES", 1)
    monkeypatch.setattr(thinning, "_NEAR_BYTES", 1)
    monkeypatch.setattr(thinning, "PIECE_BYTES", 2_000)


def test_heads_go_with_their_records_and_it_is_on_record(template: Path, tmp_path: Path, eager: None) -> None:
    folder = tmp_path / "audit"
    writer, clock = grown(template, folder, Disk())
    before = len(heads(folder))
    for _ in range(8):
        prune(writer)
        write(writer, 1)
    first = segments_of(folder)[0].first
    assert first > 0
    told = [record for record in records_of(folder) if record["event"] == "audit.removed"]
    assert {(record["what"], record["file"]) for record in told} == {("heads", HISTORY)}
    # Five of the six of each of seven days could go; the last few are not worth a copy.
    assert before // 3 < sum(record["count"] for record in told) <= 35
    report = verify_log(folder, keys_of_itself)
    assert (report.problems, report.heads_removed, report.pruned_told) == ((), True, True)
    old = [head for head in read_history(folder) if isinstance(head, SignedHead) and head.checkpoint.size <= first]
    assert len({head.ts[:10] for head in old}) == len(old) > 2
    # Another process goes on with it.
    writer._close()
    writer = begin(folder, Disk(), clock)
    write(writer, 3)
    assert not writer.refusing
    assert verify_log(folder, keys_of_itself).problems == ()


def test_a_little_gain_is_not_worth_a_copy(template: Path, tmp_path: Path) -> None:
    writer, _ = grown(template, tmp_path / "audit", Disk())
    before = (tmp_path / "audit" / HISTORY).stat().st_ino
    prune(writer)
    assert (tmp_path / "audit" / HISTORY).stat().st_ino == before


@pytest.mark.parametrize("fails", [False, True])
def test_a_process_that_ends_meanwhile_leaves_a_whole_history(
    template: Path, tmp_path: Path, eager: None, fails: bool
) -> None:
    counting = DyingDisk(random.Random(0))
    writer, _ = grown(template, tmp_path / "whole", counting)
    counting.steps = FAR
    prune(writer)
    most = FAR - counting.steps
    assert most > 20
    for steps in random.Random(most).sample(range(most), 12):
        folder = tmp_path / str(steps)
        disk = DyingDisk(random.Random(steps))
        writer, clock = grown(template, folder, disk)
        newest = writer.store.signed if writer.store else 0
        disk.steps = steps
        with pytest.raises(Killed):
            prune(writer)
        if writer._pruner._thinning is not None:
            writer._pruner._thinning.close()  # as the system does
        disk.steps = FAR
        if fails:
            disk.fail()
        report = verify_log(folder, keys_of_itself)
        assert report.problems == ()
        assert report.signed_size >= newest
        writer = begin(folder, disk, clock)
        assert not (folder / DRAFT).exists()
        write(writer, 2)
        prune(writer)
        assert not writer.refusing
        assert verify_log(folder, keys_of_itself).problems == ()


def test_a_folder_that_cannot_be_synced_loses_no_head(
    template: Path, tmp_path: Path, eager: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy has the name already, and what is signed next must not go to the file that has none any more."""
    folder = tmp_path / "audit"
    writer, _ = grown(template, folder, Disk())
    rename = Disk.rename

    def half(self: Disk, path: Path, to: Path) -> None:
        rename(self, path, to)
        raise OSError("the folder cannot be synced")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "rename", half)
        prune(writer)
    assert writer.failing
    write(writer, 3)
    assert heads(folder)[-1][0] == segments_of(folder)[-1].first + _lines_in_last(folder)
    assert verify_log(folder, keys_of_itself).problems == ()


def _lines_in_last(folder: Path) -> int:
    return len(segments_of(folder)[-1].path.read_bytes().splitlines())


def test_what_is_signed_meanwhile_is_in_the_copy(template: Path, tmp_path: Path, eager: None) -> None:
    folder = tmp_path / "audit"
    writer, _ = grown(template, folder, Disk())
    witness = NoteSigner.generate("hub.example/relay-1", COSIGNATURE_ED25519)
    writer._prune(writer._look)
    steps = 0
    while writer._pruner.is_busy:
        write(writer, 1)
        store = writer.store
        assert isinstance(store, LogStore)
        assert store.newest is not None
        writer.add_cosignature(store.newest.text, witness.sign(store.newest.text, 5))
        writer._prune(writer._pruner.step)
        steps += 1
    assert steps > 5
    sizes = [size for size, _ in heads(folder)]
    assert [count for _, count in heads(folder)][-2:] == [2, 1]
    assert sizes == sorted(sizes)
    assert verify_log(folder, keys_of_itself).problems == ()


def test_a_hand_over_leaves_the_copy_off(template: Path, tmp_path: Path, eager: None) -> None:
    folder = tmp_path / "audit"
    writer, clock = grown(template, folder, LyingDisk(random.Random(1)))
    writer._prune(writer._look)
    assert writer._pruner.is_busy
    writer._close()
    assert not (folder / DRAFT).exists()
    assert isinstance(writer._pruner, Pruner)
    assert not writer._pruner.is_busy
    begin(folder, Disk(), clock)._close()
