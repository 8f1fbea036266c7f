"""One end of a flow: numbers, acknowledgement, retention, resumption and re-keying (protocol, section 6).

A flow takes and yields sealed frames without a hop; what carries them is not its business. `out` holds what is to be
sent next, in order. Time is an argument.
"""

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from tests.reference.frames import FlowFrame, Half, Type, body_decode, body_encode
from tests.reference.keys import NO_MIX, VERSION, Epoch, KeyLimits, KeyUse, Suite, direction_secret, mix_of
from tests.reference.owed import Owed
from tests.reference.records import Record, records_decode
from tests.reference.refusals import Code, Reason, Refused

RESUMES_AT_MOST = 60
RESUMES_WITHIN = 60.0
ANSWER_WITHIN = 2.0
NUMBER_LIMIT = (1 << 48) - 1
DATAGRAM_WINDOW = 1024
FORMER_KEY_FOR = 30.0
# What the peer is told for a reason; for any other, VIOLATION.
CODES = {
    Reason.TOO_MANY_RESUMES: Code.LIMIT,
    Reason.GLITCHES: Code.LIMIT,
    Reason.KEY_LIMIT: Code.EXPIRED,
    Reason.MIX_OVERDUE: Code.EXPIRED,
}


class State(Enum):
    STARTING = "STARTING"
    UP = "UP"
    RESUMING = "RESUMING"
    CLOSED = "CLOSED"


@dataclass(frozen=True)
class Arrival:
    """A flow frame that was taken: its type, and its fields or records."""

    type: Type
    fields: Mapping[str, int | bytes] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)


class NotNow(Exception):
    """The flow may not send this at present: it is not up, its cap is reached, or a step is not acknowledged."""


class Flow:
    def __init__(
        self,
        secret: bytes,
        suite: Suite,
        index: int,
        binding: bytes,
        is_initiator: bool,
        *,
        cap: int = 1 << 20,
        renewals: Mapping[int, bytes] | None = None,
        limits: KeyLimits | None = None,
    ) -> None:
        self.index, self.binding, self.is_initiator, self.cap = index, binding, is_initiator, cap
        self.renewals: dict[int, bytes] = dict(renewals or {})
        self.limits = limits or KeyLimits()
        mine = 0 if is_initiator else 1
        self.tx_half, self.rx_half = Half(mine, index), Half(1 - mine, index)
        self.tx = self.tx_control = Epoch(suite, direction_secret(secret, mine))
        self.rx: Epoch = Epoch(suite, direction_secret(secret, 1 - mine))
        self.rx_previous: Epoch | None = None
        self.owed = Owed()
        self.use = KeyUse(self.limits)
        self.rekey_number: int | None = None
        self.mix_named = self.mix_heard = 0  # by the last own step, and by the last that was acknowledged
        self.next_number = self.next_volatile = self.expected = self.acknowledged = 0
        self.last_volatile = -1
        self.next_datagrams = 0
        self.datagrams_taken: set[int] = set()
        self.stepped_at = 0.0
        self.told = self.step_after = 0
        self.retained: deque[FlowFrame] = deque()
        self.resume_id = 0
        self.resume_owed = False
        self.resumes: deque[float] = deque()
        self.resuming_since = 0.0
        self.state = State.STARTING
        self.confirmed = False
        self.reason: Reason | None = None
        self.counts: Counter[str] = Counter()
        self.out: list[FlowFrame] = []

    # Sending

    def start(self, now: float = 0.0) -> None:
        """Send FLOW_CONFIRM. The responder does so when it has opened the initiator's."""
        body = body_encode(Type.FLOW_CONFIRM, version=VERSION, index=self.index, binding=self.binding)
        self._send_numbered(Type.FLOW_CONFIRM, body, now)

    def send_bundle(self, body: bytes, now: float = 0.0) -> None:
        if self.state is not State.UP:
            raise NotNow(self.state.name)
        if self.use.must_step(now) and self.rekey_number is None:
            self.rekey(0, now)
        self._send_numbered(Type.BUNDLE, body, now)

    def rekey(self, mix_id: int = 0, now: float = 0.0) -> None:
        """Send FLOW_REKEY as the last frame of the present epoch, and step."""
        if self.state is not State.UP or self.rekey_number is not None:
            raise NotNow("a step is not acknowledged")
        self.rekey_number = self.next_number
        self.mix_named = max(self.mix_named, mix_id)
        body = body_encode(Type.FLOW_REKEY, next_epoch=self.tx.number + 1, mix_id=mix_id)
        self._send_numbered(Type.FLOW_REKEY, body, now, at_any_age=True)
        self.tx = self.tx.next(self._mix(mix_id, self.tx_half.direction))
        self.use = KeyUse(self.limits)

    def send_volatile(self, kind: Type, body: bytes) -> None:
        tag, sealed = self.tx_half.seal(self.tx_control, kind, self.next_volatile, body)
        self.out.append(FlowFrame(kind, self.tx_control.number, self.next_volatile, tag, sealed))
        self.next_volatile += 1

    def send_datagrams(self, body: bytes, now: float = 0.0) -> None:
        """Send DATAGRAMS. They may come in any order, or not at all."""
        if self.state is not State.UP:
            raise NotNow(self.state.name)
        self.use.spend(48 + len(body), now)
        self.out.append(self.datagrams_frame(body))

    def datagrams_frame(self, body: bytes) -> FlowFrame:
        kind, number = Type.DATAGRAMS, self.next_datagrams
        self.next_datagrams += 1
        return FlowFrame(kind, self.tx_control.number, number, *self.tx_half.seal(self.tx_control, kind, number, body))

    def send_ack(self) -> None:
        self.told = self.expected
        self.send_volatile(Type.ACK, body_encode(Type.ACK, next_number=self.expected))

    def close(self, code: Code = Code.DONE, reason: Reason = Reason.LOCAL_CLOSE) -> None:
        if self.state is not State.CLOSED:
            self.send_volatile(Type.FLOW_CLOSE, body_encode(Type.FLOW_CLOSE, code=code))
            self._end(reason)

    def _send_numbered(self, kind: Type, body: bytes, now: float, *, at_any_age: bool = False) -> None:
        if self.next_number > NUMBER_LIMIT:
            raise Refused(Reason.KEY_LIMIT, "no number is left")
        size = 48 + len(body)
        if size + sum(frame.size for frame in self.retained) > self.cap:
            raise NotNow("the cap is reached")
        self.use.spend(size, now, at_any_age=at_any_age)
        tag, sealed = self.tx_half.seal(self.tx, kind, self.next_number, body)
        self.retained.append(FlowFrame(kind, self.tx.number, self.next_number, tag, sealed))
        if self.state is not State.RESUMING:
            self.out.append(self.retained[-1])
        self.next_number += 1

    # Resumption

    def path_lost(self, now: float) -> None:
        """The path is gone, was replaced, or has a gap. What was not sent yet is sent by the resumption."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.RESUMING:
            self.resuming_since = now
        self.out.clear()
        self.resume_id += 1
        self.resume_owed = True
        self.state = State.RESUMING
        self._count_resume(now)

    def path_ready(self) -> None:
        """There is a path. RESUME is sent even if the peer's came first: it is the answer that the peer waits for."""
        if self.resume_owed and self.state is not State.CLOSED:
            self._send_resume()

    def _count_resume(self, now: float) -> None:
        self.resumes.append(now)
        while now - self.resumes[0] >= RESUMES_WITHIN:
            self.resumes.popleft()
        if len(self.resumes) > RESUMES_AT_MOST:
            raise Refused(Reason.TOO_MANY_RESUMES)

    def _send_resume(self) -> None:
        self.resume_owed = False
        self.told = self.expected
        self.send_volatile(Type.RESUME, body_encode(Type.RESUME, resume_id=self.resume_id, next_number=self.expected))

    def _resume(self, resume_id: int, now: float) -> None:
        if resume_id < self.resume_id or (resume_id == self.resume_id and self.state is not State.RESUMING):
            return
        if resume_id > self.resume_id:
            self.resume_id = resume_id
            self._count_resume(now)
            self._send_resume()
        if self.state is State.RESUMING:
            self.use.pause(self.resuming_since, now)
            self.owed.pause(self.resuming_since, now)
        self.state = State.UP if self.confirmed else State.STARTING
        self.out = [frame for frame in self.out if frame.type.is_volatile] + list(self.retained)

    # Receiving

    def leads(self, frame: FlowFrame) -> bool:
        """Whether a frame that came over a candidate makes that the path; it is not taken yet. Refused: forged."""
        if frame.type is Type.FLOW_CONFIRM and not self.confirmed and frame.number == self.expected:
            self.rx_half.open(self.rx, frame.type, frame.number, frame.tag, frame.sealed)
            return True
        if frame.type is not Type.RESUME or frame.number <= self.last_volatile:
            return False
        held = [epoch for epoch in (self.rx, self.rx_previous) if epoch and epoch.number & 0xFF == frame.epoch]
        if not held:
            raise Refused(Reason.BAD_EPOCH, f"{frame.epoch}")
        fields = body_decode(frame.type, self.rx_half.open(held[0], frame.type, frame.number, frame.tag, frame.sealed))
        resume_id = fields["resume_id"]
        assert isinstance(resume_id, int)
        waits = self.state is State.RESUMING and not self.resume_owed
        leads = resume_id > self.resume_id or (resume_id == self.resume_id and waits)
        if not leads:
            self.last_volatile = frame.number
        return leads

    def path_paused(self, now: float) -> None:
        """Another path has come, and the peer begins to resume over it."""
        if self.state is State.UP:
            self.state, self.resuming_since = State.RESUMING, now

    def receive(self, frame: FlowFrame, now: float = 0.0) -> Arrival | None:
        """Take one frame; None if it was dropped. A refusal closes the flow, says so to the peer, and is raised."""
        if self.state is State.CLOSED:
            return None
        try:
            if frame.type is Type.DATAGRAMS:
                return self._receive_datagrams(frame, now)
            return self._receive_volatile(frame, now) if frame.type.is_volatile else self._receive_numbered(frame, now)
        except Refused as refused:
            self.close(CODES.get(refused.reason, Code.VIOLATION), refused.reason)
            raise

    def _receive_numbered(self, frame: FlowFrame, now: float) -> Arrival | None:
        if frame.number != self.expected:
            self.counts["duplicate" if frame.number < self.expected else "gap"] += 1
            if frame.number > self.expected and self.state is not State.RESUMING:
                self.path_lost(now)
                self.path_ready()
            return None
        if not self.confirmed and frame.type is not Type.FLOW_CONFIRM:
            raise Refused(Reason.NOT_CONFIRMED, frame.type.name)
        if frame.epoch != self.rx.number & 0xFF:
            raise Refused(Reason.BAD_EPOCH, f"{frame.epoch}")
        body = self.rx_half.open(self.rx, frame.type, frame.number, frame.tag, frame.sealed)
        # Time in which the flow resumes does not count.
        at = self.resuming_since if self.state is State.RESUMING else now
        if frame.type is not Type.FLOW_REKEY and self.owed.is_over(at):
            raise Refused(Reason.MIX_OVERDUE, frame.type.name)
        if frame.type is Type.BUNDLE:
            records = records_decode(body)
            self.expected += 1
            return Arrival(frame.type, records=records)
        fields = body_decode(frame.type, body)
        if frame.type is Type.FLOW_CONFIRM:
            self._take_confirm(fields)
        else:
            self._take_rekey(fields, at)
        self.expected += 1
        if frame.type is Type.FLOW_CONFIRM and not self.is_initiator:
            self.start(now)
        return Arrival(frame.type, fields)

    def _take_confirm(self, fields: Mapping[str, int | bytes]) -> None:
        mine = {"version": VERSION, "index": self.index, "number": 0, "binding": self.binding}
        if self.confirmed or fields != mine:
            raise Refused(Reason.BAD_CONFIRM)
        self.confirmed = True
        if self.state is State.STARTING:
            self.state = State.UP

    def _take_rekey(self, fields: Mapping[str, int | bytes], now: float) -> None:
        if fields["next_epoch"] != self.rx.number + 1:
            raise Refused(Reason.BAD_EPOCH, f"next is {fields['next_epoch']!r}")
        if self.told < self.step_after:
            raise Refused(Reason.BAD_EPOCH, "the last step was not acknowledged")
        self.step_after = self.expected + 1
        mix_id = fields["mix_id"]
        assert isinstance(mix_id, int)
        if self.is_initiator and mix_id in self.renewals:
            # The responder names only what both have told: its answer may be lost.
            self.owed.agree(mix_id, now)
        self.owed.step(mix_id, now, knows=self.is_initiator or self.mix_heard > self.owed.mix)
        self.stepped_at = now
        self.rx, self.rx_previous = self.rx.next(self._mix(mix_id, self.rx_half.direction)), self.rx

    def _receive_datagrams(self, frame: FlowFrame, now: float) -> Arrival | None:
        if not self.confirmed:
            raise Refused(Reason.NOT_CONFIRMED, frame.type.name)
        greatest = max(self.datagrams_taken, default=-1)
        former = self.rx_previous if now - self.stepped_at <= FORMER_KEY_FOR else None
        held = [epoch for epoch in (self.rx, former) if epoch and epoch.number & 0xFF == frame.epoch]
        if frame.number in self.datagrams_taken:
            self.counts["replayed"] += 1
            return None
        if frame.number <= greatest - DATAGRAM_WINDOW or not held:
            self.counts["late datagrams"] += 1
            return None
        body = self.rx_half.open(held[0], frame.type, frame.number, frame.tag, frame.sealed)
        if self.owed.is_over(self.resuming_since if self.state is State.RESUMING else now):
            raise Refused(Reason.MIX_OVERDUE, frame.type.name)
        self.datagrams_taken.add(frame.number)
        greatest = max(greatest, frame.number)
        self.datagrams_taken = {number for number in self.datagrams_taken if number > greatest - DATAGRAM_WINDOW}
        return Arrival(frame.type, records=records_decode(body, datagrams=True))

    def _receive_volatile(self, frame: FlowFrame, now: float) -> Arrival | None:
        if frame.number <= self.last_volatile:
            self.counts["late"] += 1
            return None
        held = [epoch for epoch in (self.rx, self.rx_previous) if epoch and epoch.number & 0xFF == frame.epoch]
        if not held:
            raise Refused(Reason.BAD_EPOCH, f"{frame.epoch}")
        body = self.rx_half.open(held[0], frame.type, frame.number, frame.tag, frame.sealed)
        self.last_volatile = frame.number
        if frame.type is Type.FLOW_PADDING:
            return Arrival(frame.type)
        fields = body_decode(frame.type, body)
        if frame.type is Type.FLOW_CLOSE:
            self._end(Reason.PEER_CLOSED)
            return Arrival(frame.type, fields)
        next_number = fields["next_number"]
        assert isinstance(next_number, int)
        self._take_acknowledgement(next_number)
        if frame.type is Type.RESUME:
            resume_id = fields["resume_id"]
            assert isinstance(resume_id, int)
            self._resume(resume_id, now)
        return Arrival(frame.type, fields)

    def _take_acknowledgement(self, next_number: int) -> None:
        if next_number > self.next_number:
            raise Refused(Reason.BAD_NUMBER, f"{next_number} > {self.next_number}")
        self.acknowledged = max(self.acknowledged, next_number)
        while self.retained and self.retained[0].number < self.acknowledged:
            self.retained.popleft()
        if self.rekey_number is not None and self.rekey_number < self.acknowledged:
            self.rekey_number = None
            self.mix_heard = self.mix_named
            self.tx_control = self.tx

    def _mix(self, mix_id: int, direction: int) -> bytes:
        if mix_id == 0:
            return NO_MIX
        if mix_id not in self.renewals:
            raise Refused(Reason.UNKNOWN_MIX, f"{mix_id}")
        return mix_of(self.renewals[mix_id], direction, self.index)

    def _end(self, reason: Reason) -> None:
        self.state = State.CLOSED
        self.reason = reason


def forged(frame: FlowFrame, **changes: object) -> FlowFrame:
    """The frame with some of what a lying relay can change."""
    return replace(frame, **changes)  # type: ignore[arg-type]
