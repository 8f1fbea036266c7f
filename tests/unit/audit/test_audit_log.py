"""The audit log as a node writes it: from a record to a signed head."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from pcgrelay.audit import room as room_of_disk
from pcgrelay.audit import turns
from pcgrelay.audit import writer as writing
from pcgrelay.audit.audit_log import QUEUE_MOST, AuditLog
from pcgrelay.audit.disk import Disk
from pcgrelay.audit.history import read_history, read_newest
from pcgrelay.audit.keys import ED25519_FILE, load_keys, read_keys_record
from pcgrelay.audit.note import SIGNATURES_MOST, Note, verify_note
from pcgrelay.audit.restarting import Restart
from pcgrelay.audit.store import OF_ORGANISATION_MOST
from pcgrelay.audit.totals import Totals
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import AuditSettings
from pcgrelay.errors import PcgrelayError
from pcgrelay.log import events
from pcgrelay.log.audit_events import AuditFailing, AuditKeys, AuditRefusing, AuditWell
from pcgrelay.log.events import Record
from pcgrelay.log.stream_events import StreamEnd, StreamRefused
from pcgrelay.model import NodeId
from tests.support.waiting import until_async as until
from tests.support.written_logs import NODE, ORIGIN, Endorser, FullDisk, check_log, keys_in, lines_of, records_of

ALL = AuditSettings(keep_days=400, kept_streams="all")
UP = events.NodeDrainUndone(node="kent-1")
ENDORSER = Endorser()

Begin = Callable[..., "Begun"]


class Begun:
    """A log that is written, and what it told."""

    def __init__(self, folder: Path, settings: AuditSettings = ALL, disk: Disk | None = None) -> None:
        self.folder = folder
        self.told: list[Record] = []
        self.signed: list[Note] = []
        self.log = AuditLog(folder, NODE, settings, ENDORSER, self.told.append, SYSTEM_CLOCK, self.signed.append, disk)
        self.log.start()

    def emit(self, count: int = 1, record: Record = UP, policy: str = "") -> None:
        for _ in range(count):
            self.log.emit(record, policy)

    def events(self) -> list[str]:
        return [record["event"] for record in records_of(self.folder)]


@pytest.fixture
async def begin(tmp_path: Path) -> AsyncIterator[Begin]:
    begun: list[Begun] = []

    def make(settings: AuditSettings = ALL, disk: Disk | None = None) -> Begun:
        begun.append(Begun(tmp_path / "audit", settings, disk))
        return begun[-1]

    yield make
    for each in begun:
        await each.log.stop()


async def test_records_become_lines_and_their_head_is_signed(begin: Begin) -> None:
    begun = begin()
    begun.emit(5, policy="7f3ac1000000")
    assert await begun.log.flush()
    first, *records = check_log(begun.folder)
    assert (first["event"], first["origin"]) == ("audit.keys", ORIGIN)
    assert [record["event"] for record in records] == ["node.drain_undone"] * 5
    assert list(records[0]) == ["n", "ts", "event", "policy", "node"]
    newest = read_newest(begun.folder)
    assert newest is not None
    assert newest.checkpoint.size == 6
    # Both keys have signed.
    assert len(newest.note.signatures) == 2
    assert begun.signed == [newest.note]
    assert begun.log.figures.signed == begun.log.figures.synced == begun.log.figures.size == 6


async def test_the_keys_are_private_and_signed_by_the_certificate(begin: Begin) -> None:
    begun = begin()
    await begun.log.flush()
    for path in begun.folder.glob("key.*"):
        assert path.stat().st_mode & 0o777 == 0o600
    record = records_of(begun.folder)[0]
    fields = {name: record[name] for name in AuditKeys.__struct_fields__}
    keys, chain = read_keys_record(AuditKeys(**fields | {"certificates": tuple(fields["certificates"])}))
    assert keys == load_keys(begun.folder, NODE).public
    assert chain == [ENDORSER.leaf]
    forged = fields | {"certificates": (b64encode(Endorser()(b"")[0][0]).decode(),)}
    with pytest.raises(PcgrelayError, match="not signed by the certificate"):
        read_keys_record(AuditKeys(**forged))


async def test_a_log_goes_on_where_the_last_process_ended(begin: Begin) -> None:
    for count in (3, 4):
        begun = begin()
        begun.emit(count)
        await begun.log.stop()
    assert begun.events() == ["audit.keys", *["node.drain_undone"] * 7]
    check_log(begun.folder)
    sizes = [head.checkpoint.size for head in read_history(begun.folder) if not isinstance(head, PcgrelayError)]
    assert sizes == [4, 8]


async def test_a_new_certificate_signs_the_keys_again(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begin()
    begun.log.certificate_changed()
    assert await begun.log.flush()
    assert begun.events() == ["audit.keys"]
    other = Endorser()
    monkeypatch.setattr(begun.log._writer._hooks, "endorse", other)
    begun.log.certificate_changed()
    assert await begun.log.flush()
    assert begun.events() == ["audit.keys", "audit.keys"]
    await begun.log.stop()


async def test_somebody_who_waits_is_told_when_it_is_on_the_disk(begin: Begin) -> None:
    begun = begin()
    assert await begun.log.settle(5)
    begun.emit()
    assert await begun.log.settle(5)
    assert begun.log.figures.synced == 2


async def test_a_full_disk_loses_records_and_tells_of_them_once(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (writing, turns, room_of_disk):
        monkeypatch.setattr(module, "SYNC_MS", 20)
    disk = FullDisk()
    begun = begin(disk=disk)
    begun.emit(3)
    assert await begun.log.settle(5)
    disk.is_full = True
    for _ in range(5):
        begun.emit(10)
        assert not await begun.log.settle(5)
    assert [type(record) for record in begun.told] == [AuditFailing]
    assert begun.log.figures.failing == "no space left on device"
    assert begun.log.figures.lost == 50
    disk.is_full = False
    await until(lambda: "audit.lost" in begun.events())
    begun.emit(2)
    assert await begun.log.flush()
    records = check_log(begun.folder)
    assert [record["event"] for record in records[4:]] == ["audit.lost", "node.drain_undone", "node.drain_undone"]
    assert (records[4]["count"], records[4]["reason"]) == (50, "full")
    assert records[3]["ts"] <= records[4]["since"] <= records[4]["until"] <= records[5]["ts"]
    assert [type(record) for record in begun.told] == [AuditFailing, AuditWell]


async def test_what_could_not_be_synced_is_lost_for_nobody_knows_what_is_there(begin: Begin) -> None:
    disk = FullDisk()
    begun = begin(disk=disk)
    begun.emit(3)
    assert await begun.log.flush()
    disk.syncs_fail = True
    begun.emit(7)
    assert not await begun.log.settle(5)
    assert begun.log.figures.size == begun.log.figures.synced == 4
    disk.syncs_fail = False
    begun.emit(1)
    await begun.log.flush()
    records = check_log(begun.folder)
    assert [record["event"] for record in records[4:]] == ["audit.keys", "audit.lost", "node.drain_undone"]
    assert records[5]["count"] >= 7


async def test_a_full_queue_loses_records_and_tells_of_them(begin: Begin, tmp_path: Path) -> None:
    begun = begin()
    assert await begun.log.settle(5)
    with begun.log._writer._files:
        # The first piece is taken out of the queue before its turn.
        begun.emit(QUEUE_MOST + 1_000)
        assert begun.log.figures.lost >= 1_000 - writing.CHUNK
        assert begun.log.figures.queue <= QUEUE_MOST
    lost = begun.log.figures.lost
    await until(lambda: begun.log.figures.queue == 0)
    begun.emit()
    assert await begun.log.flush()
    records = check_log(begun.folder)
    assert records[-2]["event"] == "audit.lost"
    assert (records[-2]["count"], records[-2]["reason"]) == (lost, "busy")
    assert len(records) == 1 + QUEUE_MOST + 1_000 - lost + 2


@pytest.mark.parametrize(
    ("streams", "kept"),
    [("all", ["stream.end", "stream.refused"]), ("refused", ["stream.refused"]), ("totals", [])],
)
async def test_which_streams_are_kept(begin: Begin, streams: str, kept: list[str]) -> None:
    begun = begin(AuditSettings(keep_days=1, kept_streams=streams))
    common = {"id": "1", "started": "", "from_organisation": "a", "to_organisation": "b", "service": "c"}
    common |= {"direction": "import", "code": "", "cause": ""}
    numbers = {"session": 1, "sent_bytes": 2, "received_bytes": 3, "duration_ms": 4.0}
    begun.emit(record=StreamEnd(**common, **numbers, suite="", group=""))  # type: ignore[arg-type]
    begun.emit(record=StreamRefused(**common, session=1))  # type: ignore[arg-type]
    await begun.log.flush()
    assert begun.events()[1:] == kept


def test_the_totals_of_a_minute_name_the_rule_that_allowed_them() -> None:
    totals = Totals()
    common = {"id": "1", "started": "", "from_organisation": "a", "to_organisation": "b", "service": "c"}
    common |= {"direction": "export", "code": "", "cause": ""}
    numbers = {"session": 1, "sent_bytes": 2, "received_bytes": 3, "duration_ms": 4.0, "suite": "", "group": ""}
    rule = {"rule": 2, "rule_text": "export[3]"}
    totals.add(StreamEnd(**common, **numbers, **rule), "7f3ac1")  # type: ignore[arg-type]
    refused = {"session": 1, "rule": 2, "rule_text": "export[3] (c) allows nobody"}
    totals.add(StreamRefused(**common, **refused), "7f3ac1")  # type: ignore[arg-type]
    totals.add(StreamEnd(**common, **numbers), "7f3ac1")  # type: ignore[arg-type]
    taken = totals.take(SYSTEM_CLOCK.wall())
    by_rule, unknown = (msgspec.structs.asdict(each.record) for each in taken)
    assert (by_rule["rule"], by_rule["rule_text"], by_rule["streams"], by_rule["refused"]) == (2, "export[3]", 1, 1)
    assert (unknown["rule"], unknown["rule_text"], unknown["streams"]) == (None, "", 1)


async def test_what_others_cause_is_bounded_and_every_one_is_counted(begin: Begin) -> None:
    begun = begin()
    refused = events.PathRefused(source="a", destination="b", code="REFUSED", reason="policy")
    begun.emit(1_000, refused)
    await begun.log.stop()
    records = records_of(begun.folder)[1:]
    assert len(records) < 70
    assert sum(1 + record.get("suppressed", 0) for record in records) == 1_000


async def test_a_cut_log_is_not_signed_until_somebody_begins_another(begin: Begin) -> None:
    begun = begin()
    begun.emit(5)
    await begun.log.stop()
    (segment,) = (begun.folder / "log").iterdir()
    old_key = (begun.folder / ED25519_FILE).read_bytes()
    segment.write_bytes(b"".join(line + b"\n" for line in lines_of(begun.folder)[:-2]))
    begun = begin()
    begun.emit(2)
    assert not await begun.log.flush()
    assert "has 4 records, and 6 were signed" in begun.log.figures.refusing
    assert [type(record) for record in begun.told] == [AuditRefusing]
    assert not begun.signed
    assert begun.log.newest is None
    assert not await begun.log.restart(Restart(uid=7, by="j.smith", reason="the disk was restored"))
    begun.emit()
    assert await begun.log.flush()
    records = check_log(begun.folder)
    assert [record["event"] for record in records] == [
        "audit.keys",
        "audit.restarted",
        "audit.lost",
        "node.drain_undone",
    ]
    assert (records[1]["old_size"], records[1]["uid"], records[1]["by"]) == (6, 7, "j.smith")
    assert records[2]["count"] == 2
    # The same key never signs two histories.
    assert (begun.folder / ED25519_FILE).read_bytes() != old_key
    old = Path(records[1]["folder"])
    assert read_newest(old) is not None
    assert (old / ED25519_FILE).read_bytes() == old_key
    assert "whole" in await begun.log.restart(Restart(uid=7, by="", reason="x"))


async def test_a_proof_of_two_histories_outlasts_the_process(begin: Begin) -> None:
    begun = begin()
    await begun.log.flush()
    begun.log.refuse("A witness knows another history.")
    await until(lambda: begun.log.figures.refusing)
    await begun.log.stop()
    begun = begin()
    await until(lambda: begun.log.figures.refusing)
    assert begun.log.figures.refusing == "A witness knows another history."


async def test_keys_that_are_gone_are_not_made_again(begin: Begin) -> None:
    begun = begin()
    await begun.log.stop()
    for path in begun.folder.glob("key.*"):
        path.unlink()
    begun = begin()
    await until(lambda: begun.log.figures.refusing)
    assert "keys of the audit log are gone" in begun.log.figures.refusing


async def test_another_process_goes_on_and_has_what_was_not_written(begin: Begin) -> None:
    begun = begin()
    begun.emit(5)
    assert await begun.log.flush()
    begun.emit(3)
    rest = begun.log.release()
    begun.emit(1)  # nobody writes that: it belongs to the one that has the log then
    other = begin()
    other.log.restore([*rest, b'"ts":"2026-11-03T02:14:07.113Z","event":"x"}'])
    other.emit(2)
    assert await other.log.flush()
    records = check_log(begun.folder)
    assert [record["event"] for record in records] == [
        "audit.keys",
        *["node.drain_undone"] * 8,
        "x",
        *["node.drain_undone"] * 2,
    ]


async def test_a_hand_over_that_failed_leaves_the_log_to_the_old_process(begin: Begin) -> None:
    begun = begin()
    begun.emit(5)
    begun.log.release()
    begun.emit(2)
    begun.log.start()
    assert await begun.log.flush()
    assert len(check_log(begun.folder)) == 8


async def test_a_signature_of_a_witness_is_kept_with_the_head(begin: Begin, tmp_path: Path) -> None:
    begun = begin()
    assert await begun.log.flush()
    newest = begun.log.newest
    assert newest is not None
    witness = keys_in(tmp_path / "other").cosigner
    for time_s in (5, 6):
        begun.log.cosigned(newest.text, witness.sign(newest.text, time_s))
    await begun.log.settle(5)
    head = read_newest(begun.folder)
    assert head is not None
    assert [found.time_s for found in verify_note(head.note, [witness.verifier])] == [6]
    assert len(head.note.signatures) == 3
    check_log(begun.folder)
    assert len(list(read_history(begun.folder))) == 3


async def test_a_name_that_is_no_utf_8_is_on_record(begin: Begin) -> None:
    """A path of this machine may be anything, and one record must not cost the others."""
    begun = begin()
    begun.emit(record=events.NodeDrainUndone(node="kent\udcff-1\u202e\0\n"))
    begun.emit(2)
    assert await begun.log.flush()
    records = check_log(begun.folder)
    assert [record["node"] for record in records[1:]] == ["kent\\udcff-1\u202e\0\n", "kent-1", "kent-1"]
    assert lines_of(begun.folder)[1].decode().isprintable()


async def test_an_unknown_fault_is_counted_and_nobody_waits_for_ever(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "AGAIN_S", 0.01)
    begun = begin()
    begun.emit(3)
    assert await begun.log.flush()
    body_of, left = writing.body_of, [1]

    def broken(queued: object) -> bytes:
        if left[0]:
            left[0] -= 1
            raise LookupError
        return body_of(queued)  # type: ignore[arg-type]

    monkeypatch.setattr(writing, "body_of", broken)
    begun.emit(5)
    assert not await begun.log.settle(5)
    begun.emit(2)
    assert await begun.log.flush()
    begun.log._writer.put(lambda: left[0].bad)  # type: ignore[attr-defined]
    assert await begun.log.settle(5)
    records = check_log(begun.folder)
    (lost,) = (record for record in records if record["event"] == "audit.lost")
    assert (lost["count"], lost["reason"]) == (5, "fault")
    assert [type(record).__name__ for record in begun.told] == ["Failure", "Failure"]


async def test_a_line_is_never_longer_than_an_entry_may_be(begin: Begin) -> None:
    begun = begin()
    begun.emit(
        record=events.ConfigReloaded(changes=tuple(f"export {n} changed" for n in range(20_000)), milliseconds=1)
    )
    assert await begun.log.flush()
    line = lines_of(begun.folder)[1]
    assert len(line) <= 65_535
    record = json.loads(line)
    assert record["cut"]
    assert record["changes"][0] == "export 0 changed"
    assert record["milliseconds"] == 1


@pytest.mark.parametrize("name", ["key.ed25519", "key.mldsa44"])
async def test_a_key_that_was_made_alone_is_made_again(begin: Begin, tmp_path: Path, name: str) -> None:
    """A process was killed between the two keys of a log that nobody has signed."""
    keys_in(tmp_path / "audit")
    alone = (tmp_path / "audit" / name).read_bytes()
    (tmp_path / "audit" / {"key.ed25519": "key.mldsa44", "key.mldsa44": "key.ed25519"}[name]).unlink()
    begun = begin()
    begun.emit()
    assert await begun.log.flush()
    assert (tmp_path / "audit" / name).read_bytes() != alone
    assert begun.events() == ["audit.keys", "node.drain_undone"]
    check_log(begun.folder)


async def test_a_hand_over_that_waited_too_long_leaves_a_thread_that_writes(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread may see that it is to end just when the other side gives up waiting for it."""
    monkeypatch.setattr(writing, "RELEASE_S", 0.05)
    begun = begin()
    begun.emit(3)
    await begun.log.flush()
    writer = begun.log._writer
    thread = writer._thread
    assert thread is not None
    with writer._files, pytest.raises(PcgrelayError, match="too slow"):
        begun.log.release()
    # Whatever the old thread saw, records are written.
    begun.emit(2)
    assert await begun.log.flush()
    await until(lambda: not thread.is_alive())
    begun.emit(2)
    assert await begun.log.flush()
    assert begun.events() == ["audit.keys", *["node.drain_undone"] * 7]
    check_log(begun.folder)


async def test_the_last_of_a_disk_is_left_to_the_state_of_the_node(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (writing, turns, room_of_disk):
        monkeypatch.setattr(module, "SYNC_MS", 20)
    room = SimpleNamespace(f_frsize=4_096, f_blocks=1 << 20, f_bavail=1 << 19)
    monkeypatch.setattr(room_of_disk.os, "statvfs", lambda path: room)
    begun = begin()
    begun.emit(3)
    assert await begun.log.settle(5)
    room.f_bavail = (room_of_disk.RESERVE_BYTES >> 12) - 1
    begun.log._writer._room._look_ms = 0
    begun.emit(10)
    assert not await begun.log.settle(5)
    assert begun.log.figures.failing == "no space left on device"
    # And a little more than that before it goes on.
    room.f_bavail = room_of_disk.RESERVE_BYTES >> 12
    begun.emit(10)
    assert not await begun.log.settle(5)
    room.f_bavail = 1 << 19
    await until(lambda: "audit.lost" in begun.events())
    assert check_log(begun.folder)[4]["count"] == 20
    await until(lambda: [type(record) for record in begun.told] == [AuditFailing, AuditWell])


async def test_one_organisation_does_not_keep_other_witnesses_out(begin: Begin, tmp_path: Path) -> None:
    begun = begin()
    assert await begun.log.flush()
    newest = begun.log.newest
    assert newest is not None
    nodes = [NodeId("police.example", "met.police.example", f"met-{n}") for n in range(40)]
    nodes.append(NodeId("police.example", "hub.example", "relay-1"))
    for node in nodes:
        begun.log.cosigned(newest.text, keys_in(tmp_path / node.name, node).cosigner.sign(newest.text, 5))
    await begun.log.settle(5)
    head = read_newest(begun.folder)
    assert head is not None
    names = [each.name.partition("/")[0] for each in head.note.signatures]
    assert (names.count("met.police.example"), names.count("hub.example")) == (OF_ORGANISATION_MOST, 1)


async def test_organisations_with_many_witnesses_together_do_not_either(begin: Begin, tmp_path: Path) -> None:
    begun = begin()
    assert await begun.log.flush()
    newest = begun.log.newest
    assert newest is not None
    many = [NodeId("police.example", f"{name}.police.example", f"{name}-{n}") for name in "abcde" for n in range(10)]
    few = [NodeId("police.example", f"{name}.example", "relay-1") for name in ("hub", "other")]
    for node in (*many, *few):
        begun.log.cosigned(newest.text, keys_in(tmp_path / node.name, node).cosigner.sign(newest.text, 5))
    await begun.log.settle(5)
    head = read_newest(begun.folder)
    assert head is not None
    assert len(head.note.signatures) == SIGNATURES_MOST
    assert [each.name for each in head.note.signatures[:2]] == [ORIGIN] * 2
    names = [each.name.partition("/")[0] for each in head.note.signatures]
    assert names.count("hub.example") == names.count("other.example") == 1
    assert {names.count(f"{name}.police.example") for name in "abcde"} <= {5, 6}
