"""A member with a good certificate and a good session breaks every rule of flows, records, streams and credit.

Each time the session is closed under the right name and the lane stays up, and two good edges talk on meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from pcgrelay.model import NodeId
from tests.reference.frames import FlowFrame, Header, Type, body_encode
from tests.reference.node import FarEdge
from tests.reference.records import (
    Kind,
    Record,
    record_accept,
    record_credit,
    record_data,
    record_datagram,
    record_fin,
    record_open,
    record_reset,
)
from tests.reference.refusals import Code, Reason
from tests.scenarios.kit.echo_witness import await_more, counts
from tests.scenarios.kit.malicious_member import Linked, Member, advert
from tests.scenarios.kit.nodes import KENT
from tests.scenarios.kit.under_attack import Battle, battle_begun
from tests.support.pki import REALM
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

KENT_ID = NodeId(REALM, KENT, "kent-1")
EARLY = 16_384
WINDOW = 1 << 20


@pytest.fixture(scope="module")
def battle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Battle]:
    with battle_begun(tmp_path_factory.mktemp("flows")) as begun:
        yield begun


@pytest.fixture(autouse=True)
def undisturbed(battle: Battle) -> Iterator[None]:
    """Whatever a test does, the good application notices nothing."""
    yield
    battle.witness.check()


@dataclass
class Attack:
    """A double with its lane and its session with Kent's edge, whose flow is confirmed."""

    battle: Battle
    linked: Linked
    far: FarEdge

    async def opened(self, stream: int = 1, service: str = "gift") -> None:
        """A stream to the gift, accepted."""
        self.far.send(record_open(stream, service, WINDOW))
        await self.said(Kind.ACCEPT, stream)

    async def said(self, kind: Kind, stream: int) -> Record:
        """A record that Kent's edge says on a stream, as soon as it has come."""

        def found() -> list[Record]:
            records = (record for arrival in self.far.arrivals for record in arrival.records)
            return [record for record in records if record.kind is kind and record.stream == stream]

        await self.far.neighbour.until(found)  # type: ignore[arg-type]
        return found()[-1]

    async def refused(self, reason: Reason, code: Code = Code.VIOLATION) -> None:
        """Kent's edge says FLOW_CLOSE with that code, names the reason in its log, and the lane stays up."""
        word = reason.name.lower().replace("_", "-")
        closes = [arrival for arrival in self.far.arrivals if arrival.type is Type.FLOW_CLOSE]
        if not closes:
            await self.far.neighbour.until(lambda: any(a.type is Type.FLOW_CLOSE for a in self.far.arrivals))
            closes = [arrival for arrival in self.far.arrivals if arrival.type is Type.FLOW_CLOSE]
        assert closes[0].fields["code"] == code
        line = await asyncio.to_thread(
            self.battle.kent.await_log, "session.down", peer=self.linked.member.dotted, reason=word
        )
        assert line["code"] == code.name.lower()
        assert not self.linked.neighbour.ended.is_set()


@asynccontextmanager
async def attacking(battle: Battle) -> AsyncIterator[Attack]:
    async with Member.new(battle.stage.pki).linked(battle.ports["kent"]) as linked:
        yield Attack(battle, linked, await linked.session(KENT_ID))


Act = Callable[[Attack], Awaitable[None]]
CASES: dict[str, tuple[Act, Reason]] = {}


def bundle(name: str, reason: Reason, *records: Record | bytes, opened: bool = False) -> None:
    """A case that sends these records in one BUNDLE, on a stream that was accepted before if so wanted."""

    async def act(attack: Attack) -> None:
        if opened:
            await attack.opened()
        attack.far.send_anyway(b"".join(part if isinstance(part, bytes) else part.encode() for part in records))

    CASES[name] = (act, reason)


def frame(name: str, reason: Reason, kind: Type, body: bytes, **changes: int) -> None:
    """A case that sends one flow frame of any content."""

    async def act(attack: Attack) -> None:
        attack.far.send_frame(kind, body, **changes)

    CASES[name] = (act, reason)


def raw(stream: int, kind: int, data: bytes, length: int | None = None) -> bytes:
    """A record that nobody checked."""
    return (
        stream.to_bytes(4, "big") + bytes([kind]) + (len(data) if length is None else length).to_bytes(3, "big") + data
    )


def opening(limit: int = WINDOW, marking: int = 1, priority: int = 0, transport: int = 0, n: int = 4) -> bytes:
    return limit.to_bytes(8, "big") + bytes([marking, priority, transport, n]) + b"gift"


FLOW_CONFIRM = body_encode(Type.FLOW_CONFIRM, version=1, index=0, binding=bytes(32))

# Frames of a flow.
frame("a second FLOW_CONFIRM", Reason.BAD_CONFIRM, Type.FLOW_CONFIRM, FLOW_CONFIRM)
frame("FLOW_REKEY to the same epoch", Reason.BAD_EPOCH, Type.FLOW_REKEY, body_encode(Type.FLOW_REKEY, next_epoch=0))
frame("FLOW_REKEY over an epoch", Reason.BAD_EPOCH, Type.FLOW_REKEY, body_encode(Type.FLOW_REKEY, next_epoch=2))
frame(
    "FLOW_REKEY with a mix that nobody renewed",
    Reason.UNKNOWN_MIX,
    Type.FLOW_REKEY,
    body_encode(Type.FLOW_REKEY, next_epoch=1, mix_id=9),
)
frame("ACK of what was never sent", Reason.BAD_NUMBER, Type.ACK, body_encode(Type.ACK, next_number=1_000))
frame("ACK of the greatest number", Reason.BAD_NUMBER, Type.ACK, body_encode(Type.ACK, next_number=(1 << 64) - 1))
frame(
    "RESUME of what was never sent",
    Reason.BAD_NUMBER,
    Type.RESUME,
    body_encode(Type.RESUME, resume_id=1, next_number=1_000),
)
frame(
    "RESUME with its reserved field set", Reason.BAD_FIELD, Type.RESUME, body_encode(Type.RESUME, resume_id=1, zero=1)
)
frame("FLOW_CLOSE with its reserved field set", Reason.BAD_FIELD, Type.FLOW_CLOSE, body_encode(Type.FLOW_CLOSE, zero=1))
frame("a numbered frame of the next epoch", Reason.BAD_EPOCH, Type.BUNDLE, bytes(8), epoch=1)
frame("a numbered frame of epoch 255", Reason.BAD_EPOCH, Type.BUNDLE, bytes(8), epoch=255)
frame("a volatile frame of the next epoch", Reason.BAD_EPOCH, Type.FLOW_PADDING, bytes(8), epoch=1)
frame("a volatile frame of an epoch that never was", Reason.BAD_EPOCH, Type.FLOW_PADDING, bytes(8), epoch=255)
frame("a BUNDLE that says it is a FLOW_REKEY", Reason.BAD_TAG, Type.BUNDLE, bytes(12), type=Type.FLOW_REKEY)
frame("an ACK that says it is padding", Reason.BAD_TAG, Type.ACK, bytes(8), type=Type.FLOW_PADDING)
frame("a volatile frame under another number", Reason.BAD_TAG, Type.FLOW_PADDING, bytes(8), number=77)

# Bundles that are no records.
bundle("a rest of 7 bytes", Reason.BAD_RECORD, record_open(1, "gift", WINDOW), bytes(7))
bundle("a record that passes the end", Reason.BAD_RECORD, raw(1, Kind.DATA, b"x", 2))
bundle("a record as long as can be said", Reason.BAD_RECORD, raw(1, Kind.DATA, b"x", (1 << 24) - 1))
bundle("a record of kind 0", Reason.BAD_RECORD, raw(1, 0, b"x"))
bundle("a record of kind 9", Reason.BAD_RECORD, raw(1, 9, b"x"))
bundle("a record of kind 255", Reason.BAD_RECORD, raw(1, 255, b"x"))
bundle("a DATAGRAM in a BUNDLE", Reason.BAD_RECORD, record_datagram(1, 1, b"x"))
bundle("stream 0", Reason.BAD_RECORD, raw(0, Kind.DATA, b"x"))
bundle("PAD of a stream", Reason.BAD_RECORD, raw(1, Kind.PAD, bytes(4)))
bundle("DATA of no byte", Reason.BAD_RECORD, raw(1, Kind.DATA, b""), opened=True)
bundle("FIN of 7 bytes", Reason.BAD_RECORD, raw(1, Kind.FIN, bytes(7)), opened=True)
bundle("FIN of 9 bytes", Reason.BAD_RECORD, raw(1, Kind.FIN, bytes(9)), opened=True)
bundle("RESET of 3 bytes", Reason.BAD_RECORD, raw(1, Kind.RESET, bytes(3)), opened=True)
bundle("RESET of 5 bytes", Reason.BAD_RECORD, raw(1, Kind.RESET, bytes(5)), opened=True)
bundle("CREDIT of 7 bytes", Reason.BAD_RECORD, raw(1, Kind.CREDIT, bytes(7)), opened=True)
bundle("ACCEPT of 9 bytes", Reason.BAD_RECORD, raw(1, Kind.ACCEPT, bytes(9)), opened=True)
bundle("OPEN of 12 bytes", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening()[:12]))
bundle("OPEN whose name is too short", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(n=5)))
bundle("OPEN whose name is too long", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(n=3)))
bundle("OPEN with a name of 64 bytes", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(n=64) + bytes(60)))
bundle("OPEN with transport 2", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(transport=2)))
bundle("OPEN of datagrams with a limit", Reason.BAD_CREDIT, raw(1, Kind.OPEN, opening(transport=1)))
bundle("OPEN with marking 0", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(marking=0)))
bundle("OPEN with marking 4", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(marking=4)))
bundle("OPEN with priority 3", Reason.BAD_RECORD, raw(1, Kind.OPEN, opening(priority=3)))

# Streams.
bundle("DATA of a stream never opened", Reason.BAD_STREAM, record_data(1, b"x"))
bundle("FIN of a stream never opened", Reason.BAD_STREAM, record_fin(9, 0), opened=True)
bundle("RESET of a stream never opened", Reason.BAD_STREAM, record_reset(3, 0), opened=True)
bundle("CREDIT of a stream that only the node could open", Reason.BAD_STREAM, record_credit(2, WINDOW))
bundle("ACCEPT of a stream that only the node could open", Reason.BAD_STREAM, record_accept(2, WINDOW))
bundle("OPEN with the node's parity", Reason.BAD_STREAM, record_open(2, "gift", WINDOW))
bundle("OPEN of an id that is open", Reason.BAD_STREAM, record_open(1, "gift", WINDOW), opened=True)
bundle(
    "OPEN of an id below the last", Reason.BAD_STREAM, record_open(5, "gift", WINDOW), record_open(3, "gift", WINDOW)
)
bundle("ACCEPT by the opener", Reason.BAD_STATE, record_accept(1, WINDOW), opened=True)
bundle("DATA after FIN", Reason.BAD_STATE, record_fin(1, 0), record_data(1, b"x"), opened=True)
bundle("FIN after FIN", Reason.BAD_STATE, record_fin(1, 0), record_fin(1, 0), opened=True)

# Credit.
bundle("FIN with a lesser offset", Reason.BAD_FINAL, record_data(1, b"four"), record_fin(1, 3), opened=True)
bundle("FIN with a greater offset", Reason.BAD_FINAL, record_data(1, b"four"), record_fin(1, 5), opened=True)
bundle("FIN with the greatest offset", Reason.BAD_FINAL, record_fin(1, (1 << 64) - 1), opened=True)
bundle(
    "DATA beyond what may come before ACCEPT",
    Reason.CREDIT_EXCEEDED,
    record_open(1, "gift", WINDOW),
    record_data(1, bytes(EARLY + 1)),
)
bundle("a lowered limit", Reason.BAD_CREDIT, record_credit(1, WINDOW - 1), opened=True)
bundle("a limit of zero", Reason.BAD_CREDIT, record_credit(1, 0), opened=True)
bundle("a limit too far ahead", Reason.BAD_CREDIT, record_credit(1, (1 << 31) + 1), opened=True)
bundle("the greatest limit", Reason.BAD_CREDIT, record_credit(1, (1 << 64) - 1), opened=True)
bundle("OPEN with a limit too far ahead", Reason.BAD_CREDIT, record_open(1, "gift", (1 << 31) + 1))
bundle("OPEN with the greatest limit", Reason.BAD_CREDIT, record_open(1, "gift", (1 << 64) - 1))


@pytest.mark.parametrize("name", CASES)
async def test_what_is_sealed_well_and_wrong(battle: Battle, name: str) -> None:
    act, reason = CASES[name]
    async with attacking(battle) as attack:
        await act(attack)
        await attack.refused(reason)


async def test_datagrams_that_hold_other_records(battle: Battle) -> None:
    async with attacking(battle) as attack:
        attack.far.send_frame(Type.DATAGRAMS, record_data(1, b"x").encode())
        await attack.refused(Reason.BAD_RECORD)


async def test_datagrams_are_ignored_and_counted(battle: Battle) -> None:
    """This version has no service of datagrams; the session goes on."""
    before = counts(battle.kent)
    async with attacking(battle) as attack:
        for number in range(10):
            attack.far.send_frame(Type.DATAGRAMS, record_datagram(1, number, b"x").encode())
        await attack.opened()
        await_more(battle.kent, "datagrams_ignored_total", before, 10)


async def all_credit_used(attack: Attack, stream: int, limit: int) -> None:
    """Send what is granted, until nothing more is granted because nobody at the other end reads."""
    far, sent = attack.far, 0
    far.flow.cap = 1 << 28  # this end keeps to the credit, and to nothing else

    def granted() -> int:
        records = (record for arrival in far.arrivals for record in arrival.records if record.stream == stream)
        return max([limit, *(record.number("limit") for record in records if record.kind is Kind.CREDIT)])

    while True:
        while sent < granted():
            size = min(60_000, granted() - sent)
            far.send_anyway(record_data(stream, bytes(size)).encode())
            sent += size
        try:
            await far.neighbour.until(lambda sent=sent: granted() > sent, 0.7)
        except TimeoutError:
            return


async def test_data_past_the_limit_of_an_open_stream(battle: Battle) -> None:
    """The whole of the credit is fair; one byte more is not."""
    async with attacking(battle) as attack:
        # The target echoes and may send but little back, so it soon stops reading.
        attack.far.send(record_open(1, "gift", EARLY))
        await all_credit_used(attack, 1, (await attack.said(Kind.ACCEPT, 1)).number("limit"))
        assert not any(arrival.type is Type.FLOW_CLOSE for arrival in attack.far.arrivals)
        attack.far.send_anyway(record_data(1, b"x").encode())
        await attack.refused(Reason.CREDIT_EXCEEDED)


ANSWERS: dict[str, tuple[list[Record], Reason]] = {
    "ACCEPT below the least": ([record_accept(2, EARLY - 1)], Reason.BAD_CREDIT),
    "ACCEPT too far ahead": ([record_accept(2, (1 << 31) + WINDOW)], Reason.BAD_CREDIT),
    "ACCEPT twice": ([record_accept(2, WINDOW)] * 2, Reason.BAD_STATE),
    "ACCEPT below a CREDIT": ([record_credit(2, WINDOW), record_accept(2, WINDOW - 1)], Reason.BAD_CREDIT),
    "DATA before ACCEPT": ([record_data(2, b"x")], Reason.BAD_STATE),
    "FIN before ACCEPT": ([record_fin(2, 0)], Reason.BAD_STATE),
    "OPEN back": ([record_open(2, "gift", WINDOW)], Reason.BAD_STREAM),
}


@asynccontextmanager
async def called(attack: Attack) -> AsyncIterator[socket.socket]:
    """An application of Kent's that has opened a stream to a service of the double, and reads nothing yet."""
    attack.linked.send(advert(attack.linked.member, "trap"))
    kent, loop = attack.battle.kent, asyncio.get_running_loop()
    await asyncio.to_thread(until, lambda: kent.service("trap").state == "ready", 10, "the trap is set")
    with socket.socket() as application:
        application.setblocking(False)
        await loop.sock_connect(application, attack.battle.trap)
        await loop.sock_sendall(application, b"hello")
        await attack.said(Kind.OPEN, 2)
        yield application


async def cut_off(application: socket.socket) -> None:
    """The application is cut off, never told that all went well."""
    loop = asyncio.get_running_loop()

    async def read_all() -> None:
        while await loop.sock_recv(application, 65_536):
            pass

    with pytest.raises(ConnectionResetError):
        await asyncio.wait_for(read_all(), 20)


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_that_an_answerer_may_not_give(battle: Battle, name: str) -> None:
    records, reason = ANSWERS[name]
    async with attacking(battle) as attack, called(attack) as application:
        for record in records:
            attack.far.send_anyway(record.encode())
        await attack.refused(reason)
        await cut_off(application)


async def test_data_past_the_limit_of_an_answered_stream(battle: Battle) -> None:
    async with attacking(battle) as attack, called(attack) as application:
        attack.far.send_anyway(record_accept(2, WINDOW).encode())
        await all_credit_used(attack, 2, (await attack.said(Kind.OPEN, 2)).number("limit"))
        assert not any(arrival.type is Type.FLOW_CLOSE for arrival in attack.far.arrivals)
        attack.far.send_anyway(record_data(2, b"x").encode())
        await attack.refused(Reason.CREDIT_EXCEEDED)
        await cut_off(application)


async def test_a_bad_tag_in_a_flow_frame_ends_the_session_and_not_the_lane(battle: Battle) -> None:
    """A flipped bit of the body or of its tag, under a header that is good."""
    for place in (0, 7, 8, 15):
        for in_tag in (True, False):
            async with attacking(battle) as attack:
                far, flow = attack.far, attack.far.flow
                tag, body = flow.tx_half.seal(flow.tx, Type.BUNDLE, flow.next_number, bytes(16))
                where = bytearray(tag if in_tag else body)
                where[place] ^= 0x10
                changed = (bytes(where), body) if in_tag else (tag, bytes(where))
                far.neighbour.send_flow(
                    far.session.label_out, FlowFrame(Type.BUNDLE, 0, flow.next_number, changed[0], changed[1])
                )
                await attack.refused(Reason.BAD_TAG)


async def test_frames_before_flow_confirm(battle: Battle) -> None:
    frames = {
        "a BUNDLE": (Type.BUNDLE, record_open(1, "gift", WINDOW).encode()),
        "a FLOW_REKEY": (Type.FLOW_REKEY, body_encode(Type.FLOW_REKEY, next_epoch=1)),
        "DATAGRAMS": (Type.DATAGRAMS, record_datagram(1, 0, b"x").encode()),
    }
    for kind, body in frames.values():
        before = counts(battle.kent)
        async with Member.new(battle.stage.pki).linked(battle.ports["kent"]) as linked:
            far = await linked.session_unstarted(KENT_ID)
            far.send_frame(kind, body)
            await far.neighbour.until(lambda far=far: any(a.type is Type.FLOW_CLOSE for a in far.arrivals))
            await_more(battle.kent, "not_confirmed", before)


async def test_a_flow_confirm_that_differs(battle: Battle) -> None:
    fields: dict[str, int | bytes] = {"version": 1, "index": 0, "number": 0}
    for change in ({"version": 2}, {"index": 1}, {"number": 1}, {"binding": bytes(32)}):
        before = counts(battle.kent)
        async with Member.new(battle.stage.pki).linked(battle.ports["kent"]) as linked:
            far = await linked.session_unstarted(KENT_ID)
            content: dict[str, int | bytes] = {**fields, "binding": far.session.binding, **change}
            far.send_frame(Type.FLOW_CONFIRM, body_encode(Type.FLOW_CONFIRM, **content))
            await far.neighbour.until(lambda far=far: any(a.type is Type.FLOW_CLOSE for a in far.arrivals))
            await_more(battle.kent, "bad_confirm", before)


async def test_duplicates_and_late_frames_are_dropped_unopened(battle: Battle) -> None:
    """They may come of a change of path, so they are no violation; nothing of them is believed either."""
    before = counts(battle.kent)
    async with attacking(battle) as attack:
        far, flow = attack.far, attack.far.flow
        label = far.session.label_out
        for number in range(flow.next_number):
            far.neighbour.send_flow(label, FlowFrame(Type.BUNDLE, 0, number, bytes(16), bytes(64)))
        far.neighbour.send_flow(label, FlowFrame(Type.FLOW_CLOSE, 0, 0, bytes(16), bytes(4)))
        await attack.opened()
        far.send(record_data(1, b"still here"))
        await far.neighbour.until(lambda: far.data(1) == b"still here")
        await_more(battle.kent, "duplicate_frames_total", before, 1)


async def test_a_gap_starts_a_resumption_and_loses_nothing(battle: Battle) -> None:
    before = counts(battle.kent)
    async with attacking(battle) as attack:
        far, flow = attack.far, attack.far.flow
        await attack.opened()
        flow.send_bundle(record_data(1, b"first ").encode())
        held = flow.out.pop()
        far.send_anyway(record_data(1, b"second").encode())
        await far.neighbour.until(lambda: any(arrival.type is Type.RESUME for arrival in far.arrivals))
        await far.neighbour.until(lambda: far.data(1) == b"first second")
        assert held.number == flow.next_number - 2
        await_more(battle.kent, "gaps_total", before)


async def test_more_gaps_than_anybody_needs_end_the_session(battle: Battle) -> None:
    async with attacking(battle) as attack:
        far, flow = attack.far, attack.far.flow
        await attack.opened()
        # The double answers RESUME by itself and never sends the missing frame, so each frame is a new gap.
        flow.next_number += 1
        for _ in range(70):
            if any(arrival.type is Type.FLOW_CLOSE for arrival in far.arrivals):
                break
            resumes = sum(arrival.type is Type.RESUME for arrival in far.arrivals)
            far.send_anyway(record_data(1, b"x").encode())
            await far.neighbour.until(
                lambda seen=resumes: (
                    sum(arrival.type in (Type.RESUME, Type.FLOW_CLOSE) for arrival in far.arrivals) > seen
                )
            )
        await attack.refused(Reason.TOO_MANY_RESUMES, Code.LIMIT)


async def test_what_is_wrong_in_the_header_of_a_flow_frame_closes_the_lane(battle: Battle) -> None:
    async with attacking(battle) as attack:
        header = Header(8, Type.BUNDLE, attack.far.session.label_out, flags=1)
        attack.linked.neighbour.send_header(header, bytes(16), bytes(8))
        await attack.linked.neighbour.until(attack.linked.neighbour.ended.is_set)
        await asyncio.to_thread(
            battle.kent.await_log, "lane.down", peer=attack.linked.member.dotted, reason="bad-flags"
        )


async def test_services_that_are_not_granted(battle: Battle) -> None:
    """Refused by RESET with a code and, for a service that is there, the number of the rule."""
    refusals = {
        "echo": (Code.REFUSED, 0, "not-allowed"),
        "nothing": (Code.UNKNOWN, 0xFFFF, "unknown-service"),
        "gift" * 15: (Code.UNKNOWN, 0xFFFF, "unknown-service"),
        "Gift": (Code.UNKNOWN, 0xFFFF, "unknown-service"),
        "gift\0": (Code.UNKNOWN, 0xFFFF, "unknown-service"),
        f"echo@{KENT}": (Code.UNKNOWN, 0xFFFF, "unknown-service"),
    }
    async with attacking(battle) as attack:
        organisation = attack.linked.member.id.organisation
        for stream, (service, (code, rule, cause)) in enumerate(refusals.items()):
            attack.far.send(record_open(2 * stream + 1, service, WINDOW))
            reset = await attack.said(Kind.RESET, 2 * stream + 1)
            assert (reset.number("code"), reset.number("rule")) == (code, rule), service
            await asyncio.to_thread(
                battle.kent.await_log, "stream.refused", cause=cause, from_organisation=organisation
            )
        session = battle.kent.log("session.up", peer=attack.linked.member.dotted)[-1]["session"]
        await asyncio.to_thread(until, lambda: len(battle.kent.log("stream.refused", session=session)) == len(refusals))
