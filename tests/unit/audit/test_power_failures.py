"""A log on a disk that loses whatever was not synced when the power fails: nothing that was signed is ever missing."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pcgrelay.audit.exporting import export_tiles
from pcgrelay.audit.lines import line_of
from pcgrelay.audit.note import COSIGNATURE_ED25519, Note, NoteSigner
from pcgrelay.audit.store import LogStore
from pcgrelay.audit.tile_sync import SYNCED, read_mark
from pcgrelay.audit.tiles import FOLDER as TILES
from pcgrelay.audit.tiles import TILE_WIDTH
from pcgrelay.audit.verify import Keys, verify_log
from pcgrelay.errors import PcgrelayError
from tests.support.machines import examples
from tests.support.written_logs import FullDisk, LyingDisk, check_log, check_tiles, keys_in

DAYS = ("2026-11-03", "2026-11-04", "2026-11-05")


class Machine:
    """A machine whose power fails now and then, with one log."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.chance = random.Random(seed)
        self.disk = LyingDisk(self.chance)
        self.keys = keys_in(folder)
        self.witnesses = [NoteSigner.generate(f"hub.example/relay-{n}", COSIGNATURE_ED25519) for n in range(3)]
        self.signed: list[Note] = []  # whatever may have been sent to somebody
        self.day = 0
        self.store = LogStore(folder, self.keys, self.disk)

    def act(self) -> None:
        """Do what the thread does, in its order, but stop anywhere."""
        lines = [self._line(index) for index in range(self.chance.randrange(400))]
        assert self.store.append(lines) == len(lines)
        if self.chance.random() < 0.2:
            self.day = min(self.day + 1, len(DAYS) - 1)
        if self.chance.random() < 0.6:
            self.store.sync()
        if self.chance.random() < 0.4:
            # What is synced alone is signed, even if there is more.
            note = self.store.sign(1_800_000_000, "2026-11-03T00:00:00.000Z")
            if note is not None:
                self.signed.append(note)
        for witness in self.witnesses:
            if self.chance.random() < 0.4 and self.store.newest is not None:
                note = self.store.newest
                self.store.add_cosignature(note.text, witness.sign(note.text, 5), "2026-11-03T00:00:00.000Z")
        if self.chance.random() < 0.4:
            self.store.sync_tiles()

    def _line(self, index: int) -> bytes:
        body = b'"ts":"%sT02:14:07.113Z","event":"x","text":"%s"}' % (
            DAYS[self.day].encode(),
            b"y" * self.chance.randrange(600),
        )
        return line_of(self.store.size + index, body)

    def fail(self) -> None:
        """The power fails, and comes back."""
        self.store.close()
        self.disk.fail()
        # Whoever examines the disk before the node has started again finds nothing changed.
        assert verify_log(self.folder, self.by_key).problems == ()
        self._lose_tiles()
        self.store = LogStore(self.folder, self.keys, self.disk)
        self.check()

    def by_key(self, *_: object) -> Keys:
        """By what the log is examined: it names no keys itself here."""
        return Keys((self.keys.ed25519.verifier, self.keys.ml_dsa_44.verifier), (), "policy")

    def _lose_tiles(self) -> None:
        """Somebody removes all of them, and once the note of what is on the disk too."""
        if self.chance.random() < 0.1:
            shutil.rmtree(self.folder / TILES, ignore_errors=True)
        if self.chance.random() < 0.1:
            (self.folder / SYNCED).unlink(missing_ok=True)

    def check(self) -> None:
        """Each head that was ever signed is a beginning of what is there."""
        records = check_log(self.folder)
        check_tiles(self.folder)
        assert verify_log(self.folder, self.by_key).problems == ()
        assert len(records) == self.store.size
        kept = {note.text for note in self.signed}
        sizes = [int(text.split("\n")[1]) for text in kept]
        assert max(sizes, default=0) == self.store.signed


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**32 - 1))
@example(57)
@example(130)  # tiles are removed, made again, and lost again
def test_what_was_signed_outlasts_every_power_failure(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    machine = Machine(tmp_path_factory.mktemp("audit"), seed)
    for _ in range(4):
        for _ in range(machine.chance.randrange(1, 5)):
            machine.act()
        machine.fail()
    machine.store.close()


def body(number: int) -> bytes:
    return line_of(number, b'"ts":"2026-11-03T02:14:07.113Z","event":"x"}')


def test_tiles_that_were_synced_are_not_read_again_at_a_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, disk = keys_in(tmp_path), LyingDisk(random.Random(1))
    store = LogStore(tmp_path, keys, disk)
    for _ in range(3):
        store.append([body(store.size + index) for index in range(1_000)])
        store.sync()
        store.sign(1_800_000_000, "2026-11-03T00:00:00.000Z")
        store.sync_tiles()
    store.close()
    assert read_mark(tmp_path) == 2_000 // TILE_WIDTH * TILE_WIDTH
    written: list[Path] = []
    monkeypatch.setattr(disk, "write_end", lambda path, at, data: written.append(path))
    LogStore(tmp_path, keys, disk).close()
    assert {path.name for path in written if path.parent.name == "0"} == {f"{n:03d}" for n in range(7, 12)}


@pytest.mark.parametrize("mark", [b"", b"x\n", b"-5\n", b"999999999999\n", b"1" * 100, b"512\n", "\u0665".encode()])
def test_a_note_of_what_is_synced_is_not_believed_blindly(tmp_path: Path, mark: bytes) -> None:
    keys, disk = keys_in(tmp_path), LyingDisk(random.Random(1))
    store = LogStore(tmp_path, keys, disk)
    store.append([body(number) for number in range(1_000)])
    store.sync()
    store.sign(1_800_000_000, "2026-11-03T00:00:00.000Z")
    store.close()
    (tmp_path / SYNCED).write_bytes(mark)
    (tmp_path / TILES / "1" / "000").write_bytes(bytes(96))
    store = LogStore(tmp_path, keys, disk)
    store.close()
    check_tiles(tmp_path)


def test_what_is_not_whole_is_moved_aside_and_nothing_of_it_is_lost(tmp_path: Path) -> None:
    keys, disk = keys_in(tmp_path), LyingDisk(random.Random(1))
    store = LogStore(tmp_path, keys, disk)
    body = b'"ts":"2026-11-03T02:14:07.113Z","event":"x"}'
    store.append([line_of(number, body) for number in range(3)])
    store.sync()
    store.close()
    (segment,) = (tmp_path / "log").iterdir()
    with segment.open("ab") as sink:
        sink.write(line_of(3, body) + b"\n" + line_of(4, body)[:20])
    store = LogStore(tmp_path, keys, disk)
    assert store.size == 4
    (torn,) = store.torn
    assert Path(torn.file).read_bytes() == line_of(4, body)[:20]
    assert torn.size_bytes == 20
    store.close()


def test_a_full_disk_leaves_no_copy_of_a_torn_end_at_each_try(tmp_path: Path) -> None:
    keys, disk = keys_in(tmp_path), FullDisk()
    LogStore(tmp_path, keys, disk).close()
    (segment,) = (tmp_path / "log").iterdir()
    segment.write_bytes(line_of(0, b'"ts"'))
    disk.is_full = True
    for _ in range(3):
        with pytest.raises(OSError, match="No space left"):
            LogStore(tmp_path, keys, disk)
    assert list((tmp_path / "log").iterdir()) == [segment]
    disk.is_full = False
    store = LogStore(tmp_path, keys, disk)
    assert len(store.torn) == 1
    store.close()


def test_a_disk_that_fails_at_each_try_costs_no_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys, disk = keys_in(tmp_path), FullDisk()
    LogStore(tmp_path, keys, disk).close()
    disk.syncs_fail = True
    before = os.listdir("/proc/self/fd")
    for _ in range(5):
        with pytest.raises(OSError, match="Input/output error"):
            LogStore(tmp_path, keys, disk)
    (tmp_path / "log" / "000000000000.jsonl").unlink()
    (tmp_path / "log" / "000000000000.jsonl").mkdir()
    for _ in range(5):
        with pytest.raises((OSError, PcgrelayError)):
            LogStore(tmp_path, keys, disk)
    assert os.listdir("/proc/self/fd") == before


def test_an_export_after_a_power_failure_has_all_that_is_signed(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    keys, disk = keys_in(folder), LyingDisk(random.Random(1))
    store = LogStore(folder, keys, disk)
    store.append([body(number) for number in range(300)])
    store.sync()
    store.sign(1_800_000_000, "2026-11-03T00:00:00.000Z")
    store.close()
    (segment,) = (folder / "log").iterdir()
    with segment.open("ab") as sink:
        sink.write(bytes(512) + body(305) + b"\n" + body(306))
    assert export_tiles(folder, tmp_path / "out").size == 300


def test_a_store_that_signed_before_the_sync_is_found_out(tmp_path: Path) -> None:
    """The test above finds a wrong order."""
    found = 0
    for seed in range(40):
        machine = Machine(tmp_path / str(seed), seed)
        machine.store.append([machine._line(index) for index in range(50)])
        machine.store._file._safe, machine.store._file.sync = 0, lambda: None  # type: ignore[attr-defined, method-assign]
        machine.store.sync()
        machine.signed += filter(None, [machine.store.sign(1, "x")])
        try:
            machine.fail()
        except Exception:
            found += 1
    assert found > 20
