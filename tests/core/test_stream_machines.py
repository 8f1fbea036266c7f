"""Machines that do anything in any order: streams with their credit, and flows, beside the reference.

Whatever they do, the core takes what the reference allows, the reference takes what the core sends, and every byte
comes out once and in order.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.native.probe import Refusal
from tests.native.probe_edge import Application
from tests.native.probe_flow import Flow
from tests.native.probe_store import Pool
from tests.reference.flows import Flow as ReferenceFlow
from tests.reference.flows import NotNow
from tests.reference.flows import State as FlowState
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.keys import Suite
from tests.reference.records import (
    Kind,
    record_accept,
    record_credit,
    record_data,
    record_fin,
    record_open,
    record_reset,
)
from tests.reference.streams import TABLE, TX
from tests.support.machines import MACHINE
from tests.support.reference_peer import SESSION, Peer

WINDOW = 65_536


class Streams(RuleBasedStateMachine):
    """An edge of the core, and the reference with its table of streams. Nothing is refused on either side."""

    def __init__(self) -> None:
        super().__init__()
        self.peer = Peer()
        self.ours: dict[int, Application] = {}
        self.to_edge: dict[int, bytes] = {}
        self.to_peer: dict[int, bytes] = {}
        self.next_id = 1

    def carry(self) -> None:
        before = len(self.peer.edge.answered)
        self.peer.settle()
        for application in self.peer.edge.answered[before:]:
            if application.id is not None:
                self.ours[application.id] = application

    def may(self, stream: int, kind: Kind) -> bool:
        opened = self.peer.end.streams.open.get(stream)
        return opened is not None and (TX, kind) in TABLE[opened.state]

    def pick(self, at: int, kind: Kind) -> int | None:
        able = [stream for stream in self.peer.end.streams.open if self.may(stream, kind)]
        return able[at % len(able)] if able else None

    @rule(connects=st.booleans())
    def peer_opens(self, connects: bool) -> None:
        self.peer.edge.connects = connects
        before = len(self.peer.edge.answered)
        self.peer.send(record_open(self.next_id, "s", WINDOW))
        self.to_edge[self.next_id] = self.to_peer[self.next_id] = b""
        self.ours[self.next_id] = self.peer.edge.answered[before]
        self.next_id += 2

    @rule(at=st.integers(0, 9))
    def target_answers(self, at: int) -> None:
        if self.ours:
            self.peer.edge.connects = True
            self.peer.edge.reads(list(self.ours.values())[at % len(self.ours)], True)
            self.carry()

    @rule()
    def edge_opens(self) -> None:
        application = self.peer.edge.connect()
        assert application is not None
        self.carry()
        stream = max(self.peer.end.streams.open)
        stream = max(each for each in self.peer.end.streams.open if each % 2 == 0) if stream % 2 else stream
        self.ours[stream] = application
        self.to_edge[stream] = self.to_peer[stream] = b""

    @rule(at=st.integers(0, 9))
    def peer_accepts(self, at: int) -> None:
        if (stream := self.pick(at, Kind.ACCEPT)) is not None:
            # CREDIT may have granted more before.
            self.peer.send(record_accept(stream, max(WINDOW, self.peer.end.streams.open[stream].rx.limit)))

    @rule(at=st.integers(0, 9), size=st.integers(1, 20_000))
    def peer_writes(self, at: int, size: int) -> None:
        if (stream := self.pick(at, Kind.DATA)) is None:
            return
        side = self.peer.end.streams.open[stream].tx
        data = bytes([len(self.to_edge[stream]) % 251]) * min(size, side.limit - side.sent)
        if data:
            self.peer.send(record_data(stream, data))
            self.to_edge[stream] += data

    @rule(at=st.integers(0, 9))
    def peer_ends(self, at: int) -> None:
        if (stream := self.pick(at, Kind.FIN)) is not None:
            self.peer.send(record_fin(stream, self.peer.end.streams.open[stream].tx.sent))

    @rule(at=st.integers(0, 9))
    def peer_resets(self, at: int) -> None:
        if (stream := self.pick(at, Kind.RESET)) is not None:
            self.peer.send(record_reset(stream, 8))
            # Its application may have reset it as well, and wait for credit for its last words.
            self.ours.pop(stream, None)

    @rule(at=st.integers(0, 9), more=st.integers(0, WINDOW))
    def peer_grants(self, at: int, more: int) -> None:
        if (stream := self.pick(at, Kind.CREDIT)) is not None:
            self.peer.send(record_credit(stream, self.peer.end.streams.open[stream].rx.limit + more))

    @rule(at=st.integers(0, 9), size=st.integers(0, 50_000), close=st.booleans())
    def edge_writes(self, at: int, size: int, close: bool) -> None:
        if not self.ours:
            return
        stream = list(self.ours)[at % len(self.ours)]
        if stream in self.closing:
            return
        data = bytes([len(self.to_peer[stream]) % 249]) * size
        self.to_peer[stream] += data
        if close:
            self.closing.add(stream)
        self.peer.edge.write(self.ours[stream], data, close=close)
        self.carry()

    @initialize()
    def begin(self) -> None:
        self.closing: set[int] = set()

    @rule(at=st.integers(0, 9), taking=st.booleans())
    def edge_reads(self, at: int, taking: bool) -> None:
        if self.ours:
            self.peer.edge.reads(list(self.ours.values())[at % len(self.ours)], taking)
            self.carry()

    @rule(at=st.integers(0, 9))
    def edge_resets(self, at: int) -> None:
        if self.ours:
            stream = list(self.ours)[at % len(self.ours)]
            self.peer.edge.reset(self.ours.pop(stream))
            self.carry()

    @rule(seconds=st.sampled_from([0.03, 0.3]))
    def time_passes(self, seconds: float) -> None:
        self.peer.wait(seconds)
        self.peer.send_lane(Type.PING, body_encode(Type.PING, token=1))

    @invariant()
    def nothing_was_refused(self) -> None:
        assert self.peer.edge.refused() == {}
        assert self.peer.edge.has_session(SESSION)
        assert self.peer.lane.state == "UP"

    @invariant()
    def bytes_come_out_as_they_went_in(self) -> None:
        said: dict[int, bytes] = {}
        for record in self.peer.records():
            if record.kind is Kind.DATA:
                said[record.stream] = said.get(record.stream, b"") + record.data
        for stream, application in self.ours.items():
            assert self.to_edge[stream].startswith(application.received)
            assert self.to_peer[stream].startswith(said.get(stream, b""))

    @invariant()
    def both_know_the_same_streams(self) -> None:
        for stream, opened in self.peer.end.streams.open.items():
            state = self.ours[stream].state if stream in self.ours else None
            mirrored = {"OPENING": "ANSWERING", "ANSWERING": "OPENING", "HALF_LOCAL": "HALF_REMOTE"}
            mirrored |= {after: before for before, after in mirrored.items()}
            mirrored |= {"OPENING_FIN": "ANSWERING_FIN", "ANSWERING_FIN": "OPENING_FIN"}
            if state is not None:
                assert state == mirrored.get(opened.state.value, opened.state.value)


class Flows(RuleBasedStateMachine):
    """A flow of the core and one of the reference, over a way that loses, repeats and cuts."""

    def __init__(self) -> None:
        super().__init__()
        secret, binding = bytes(range(32)), bytes(32)
        self.core = Flow(Pool(1 << 24), secret, index=0, suite=1, initiator=False, binding=binding, cap=1 << 20)
        self.other = ReferenceFlow(secret, Suite.AES_256_GCM, 0, binding, True)
        self.now_us = 1_000_000_000
        self.seen: dict[tuple[str, bool, int], bytes] = {}
        self.past: list[bytes] = []
        self.to_core: list[bytes] = []
        self.to_other: list[bytes] = []
        self.sent: dict[str, list[bytes]] = {"core": [], "other": []}
        self.got: dict[str, list[bytes]] = {"core": [], "other": []}
        self.other.start()
        self.flush_other()
        self.carry()

    @property
    def now(self) -> float:
        return self.now_us / 1_000_000

    # What each side puts on the way

    def put(self, sender: str, wire: bytes) -> None:
        volatile, number = wire[3] >= 0x80, int.from_bytes(wire[10:16], "big")
        # Whatever happens, a number stands for one sealed body for ever.
        assert self.seen.setdefault((sender, volatile, number), wire[32:]) == wire[32:]
        (self.to_other if sender == "core" else self.to_core).append(wire)

    def flush_other(self) -> None:
        for frame in self.other.out:
            self.put("other", frame.header(1).encode() + bytes(16) + frame.tag + frame.sealed)
        self.other.out.clear()

    def core_sends_again(self) -> None:
        for wire in self.core.retained():
            self.put("core", wire)

    def core_breaks(self) -> None:
        self.core.break_off(self.now_us)
        self.put("core", self.core.resume(self.now_us))

    # What arrives

    def core_takes(self, wire: bytes) -> None:
        kind = Type(wire[3])
        try:
            body = self.core.open(wire, self.now_us)
        except Refusal as refusal:
            if refusal.reason == "GAP" and self.core.state != "RESUMING":
                self.core_breaks()
            if refusal.reason not in ("GAP", "DUPLICATE"):
                raise
            return
        match kind:
            case Type.BUNDLE:
                self.got["core"].append(body)
            case Type.FLOW_CONFIRM:
                self.core.take_confirm(body)
                self.put("core", self.core.confirm(self.now_us))
            case Type.FLOW_REKEY:
                self.core.take_rekey(body)
            case Type.ACK:
                self.core.take_ack(int.from_bytes(body, "big"), self.now_us)
            case Type.RESUME:
                answer, again = self.core.rx_resume(body, self.now_us)
                if answer:
                    self.put("core", self.core.resume(self.now_us))
                if again:
                    self.core_sends_again()

    def other_takes(self, wire: bytes) -> None:
        frame = FlowFrame(Type(wire[3]), wire[8], int.from_bytes(wire[10:16], "big"), wire[32:48], wire[48:])
        arrival = self.other.receive(frame, self.now)
        if arrival is not None and arrival.type is Type.BUNDLE:
            self.got["other"].append(b"".join(record.encode() for record in arrival.records))
        self.flush_other()

    def carry(self) -> None:
        while self.to_core or self.to_other:
            if self.to_core:
                self.core_takes(self.to_core.pop(0))
            if self.to_other:
                self.other_takes(self.to_other.pop(0))

    def text(self, sender: str) -> bytes:
        return record_data(1, b"%s %d" % (sender.encode(), len(self.sent[sender]))).encode()

    @rule()
    def core_sends(self) -> None:
        if self.core.has_room:
            body = self.text("core")
            self.put("core", self.core.seal(Type.BUNDLE, body, self.now_us))
            self.sent["core"].append(body)

    @rule()
    def other_sends(self) -> None:
        body = self.text("other")
        try:
            self.other.send_bundle(body, self.now)
        except NotNow:
            return
        self.sent["other"].append(body)
        self.flush_other()

    @rule()
    def both_step(self) -> None:
        if self.core.must_rekey(1, 1, 1, self.now_us):
            self.put("core", self.core.rekey(self.now_us))
        try:
            self.other.rekey(0, self.now)
        except NotNow:
            return
        self.flush_other()

    @rule()
    def both_acknowledge(self) -> None:
        self.put("core", self.core.ack())
        self.other.send_ack()
        self.flush_other()

    @rule(to_core=st.integers(0, 6), to_other=st.integers(0, 6))
    def some_arrive(self, to_core: int, to_other: int) -> None:
        for _ in range(min(to_core, len(self.to_core))):
            self.past.append(self.to_core[0])
            self.core_takes(self.to_core.pop(0))
        for _ in range(min(to_other, len(self.to_other))):
            self.other_takes(self.to_other.pop(0))

    @precondition(lambda self: self.past)
    @rule(at=st.integers(0, 1_000))
    def a_relay_repeats_one(self, at: int) -> None:
        """An honest way never does; a duplicate must do nothing."""
        before = list(self.got["core"]), self.core.next_expected
        self.core_takes(self.past[at % len(self.past)])
        assert before == (self.got["core"], self.core.next_expected)

    @rule(both=st.booleans(), keep=st.integers(0, 3))
    def the_path_is_cut(self, both: bool, keep: int) -> None:
        """What is under way is lost but for its beginning; one side or both notice."""
        del self.to_core[keep:], self.to_other[keep:]
        self.other.path_lost(self.now)
        if both:
            self.core_breaks()
        self.other.path_ready()
        self.flush_other()
        # Later than the limit of resumptions in a minute.
        self.now_us += 2_100_000

    @invariant()
    def what_arrives_is_what_was_sent_in_order(self) -> None:
        assert self.sent["core"][: len(self.got["other"])] == self.got["other"]
        assert self.sent["other"][: len(self.got["core"])] == self.got["core"]
        assert self.core.state != "CLOSED"
        assert self.other.state is not FlowState.CLOSED

    def teardown(self) -> None:
        self.the_path_is_cut(True, 0)
        self.carry()
        assert self.got == {"core": self.sent["other"], "other": self.sent["core"]}
        assert (self.core.state, self.other.state) == ("UP", FlowState.UP)


TestStreams = Streams.TestCase
TestStreams.settings = MACHINE
TestFlows = Flows.TestCase
TestFlows.settings = MACHINE
