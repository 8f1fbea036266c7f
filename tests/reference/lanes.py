"""One end of a lane: confirm, ping, re-keying and close (protocol, section 5), and the numbers of a link's lanes (4.1).

A lane takes bytes and yields events; `out` holds the bytes to send. Time is an argument.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tests.reference.frames import (
    PREFIX_SIZE,
    FlowFrame,
    Half,
    Header,
    Type,
    body_decode,
    body_encode,
    header_decode,
    header_open,
    header_seal,
)
from tests.reference.keys import (
    NO_MIX,
    VERSION,
    Epoch,
    KeyLimits,
    KeyUse,
    LinkSecrets,
    Preamble,
    Suite,
    direction_secret,
    mix_of,
    preamble_decode,
)
from tests.reference.owed import Owed
from tests.reference.refusals import Budget, Code, Reason, Refused

NUMBERS_AHEAD = 64
PROBE_INTERVAL = 0.5
SILENT_AFTER = 4 * PROBE_INTERVAL


class State(Enum):
    CONFIRMING = "CONFIRMING"
    UP = "UP"
    DRAINING = "DRAINING"
    CLOSED = "CLOSED"


@dataclass(frozen=True)
class LaneEvent:
    """A frame that was taken: a lane frame with its fields, or a flow frame with its label and sealed body."""

    type: Type
    fields: Mapping[str, int | bytes] = field(default_factory=dict)
    label: int = 0
    frame: FlowFrame | None = None


class Lane:
    def __init__(
        self,
        secret: bytes,
        suite: Suite,
        *,
        index: int,
        number: int,
        binding: bytes,
        is_dialler: bool,
        renewals: Mapping[int, bytes] | None = None,
        limits: KeyLimits | None = None,
    ) -> None:
        self.index, self.number, self.binding = index, number, binding
        self.renewals: dict[int, bytes] = dict(renewals or {})
        self.limits = limits or KeyLimits()
        mine = 0 if is_dialler else 1
        self.tx_half, self.rx_half = Half(mine, index), Half(1 - mine, index)
        self.tx = Epoch(suite, direction_secret(secret, mine))
        self.rx = Epoch(suite, direction_secret(secret, 1 - mine))
        self.owed = Owed()
        self.use = KeyUse(self.limits)
        self.tx_count = self.rx_count = 0
        self.state = State.CONFIRMING
        self.reason: Reason | None = None
        self.ping_budget, self.rekey_budget = Budget(100, 20), Budget(100, 20)
        self.steps = Budget(20, 10)
        self.pings: dict[int, float] = {}
        self.received_at = 0.0
        self.counts: Counter[str] = Counter()
        self.out = bytearray()
        self.taken: list[LaneEvent] = []
        self._in = bytearray()
        self._header: Header | None = None

    # Sending

    def confirm(self, now: float = 0.0) -> None:
        fields: dict[str, int | bytes] = {"version": VERSION, "index": self.index, "number": self.number}
        self.send(Type.CONFIRM, body_encode(Type.CONFIRM, **fields, binding=self.binding), now)

    def send(self, kind: Type, body: bytes, now: float = 0.0) -> None:
        """Seal a lane frame."""
        at_any_age = kind is Type.REKEY
        if not at_any_age:
            self._step_if_due(now)
        sealed = self.tx_half.seal(self.tx, kind, self.tx_count, body)
        self._send_header(Header(len(body), kind), sealed, now, at_any_age)

    def send_flow(self, label: int, frame: FlowFrame, now: float = 0.0) -> None:
        """Put a sealed flow frame under a header of this lane."""
        self._step_if_due(now)
        self._send_header(frame.header(label), (frame.tag, frame.sealed), now)

    def send_header(self, header: Header, tag: bytes, sealed: bytes, now: float = 0.0) -> None:
        """Seal any header over any body: the door for malformed frames."""
        self._send_header(header, (tag, sealed), now)

    def ping(self, token: int, now: float) -> None:
        self.pings[token] = now
        self.send(Type.PING, body_encode(Type.PING, token=token), now)

    def rekey(self, mix_id: int = 0, now: float = 0.0) -> None:
        body = body_encode(Type.REKEY, next_epoch=self.tx.number + 1, mix_id=mix_id)
        self.send(Type.REKEY, body, now)
        self.tx = self.tx.next(self._mix(mix_id, self.tx_half.direction))
        self.use = KeyUse(self.limits)

    def _step_if_due(self, now: float) -> None:
        if self.use.must_step(now) and self.steps.has(now):
            self.steps.spend(now)
            self.rekey(0, now)

    def close(self, code: Code = Code.DONE, reason: Reason = Reason.LOCAL_CLOSE, now: float = 0.0) -> None:
        if self.state is not State.CLOSED:
            self.send(Type.CLOSE, body_encode(Type.CLOSE, code=code), now)
            self._end(reason)

    def _send_header(self, header: Header, body: tuple[bytes, bytes], now: float, at_any_age: bool = False) -> None:
        tag, sealed = body
        self.use.spend(PREFIX_SIZE + len(sealed), now, at_any_age=at_any_age)
        self.out += header_seal(self.tx, self.tx_count, header, tag) + sealed
        self.tx_count += 1

    # Receiving

    def receive(self, data: bytes, now: float = 0.0) -> list[LaneEvent]:
        """Take bytes as they come. A refusal closes the lane and is raised; `taken` keeps what came before it."""
        self._in += data
        self.taken = []
        try:
            while self.state is not State.CLOSED and self._take_frame(now):
                pass
        except Refused as refused:
            codes = {Reason.GLITCHES: Code.LIMIT, Reason.MIX_OVERDUE: Code.EXPIRED}
            self.close(codes.get(refused.reason, Code.VIOLATION), refused.reason, now)
            raise
        return self.taken

    def ended(self) -> None:
        """TCP has ended or failed."""
        if self.state is not State.CLOSED:
            self._end(Reason.SOCKET)

    def tick(self, now: float) -> None:
        if self.state is not State.CLOSED and now - self.received_at >= SILENT_AFTER:
            self._end(Reason.SILENT)
        elif self.state is not State.CLOSED and self.owed.is_over(now):
            self.close(Code.EXPIRED, Reason.MIX_OVERDUE, now)

    def _take_frame(self, now: float) -> bool:
        if self._header is None:
            if len(self._in) < PREFIX_SIZE:
                return False
            self._header = header_decode(header_open(self.rx, self.rx_count, bytes(self._in[:PREFIX_SIZE])))
            if self.state is State.CONFIRMING and self._header.kind is not Type.CONFIRM:
                raise Refused(Reason.NOT_CONFIRMED, self._header.kind.name)
        header = self._header
        if len(self._in) < PREFIX_SIZE + header.length:
            return False
        tag, sealed = bytes(self._in[32:PREFIX_SIZE]), bytes(self._in[PREFIX_SIZE : PREFIX_SIZE + header.length])
        del self._in[: PREFIX_SIZE + header.length]
        self._header = None
        self.received_at = now
        if header.kind.is_lane:
            self.taken.append(self._take_lane_frame(header.kind, tag, sealed, now))
        else:
            frame = FlowFrame(header.kind, header.epoch, header.number, tag, sealed)
            self.taken.append(LaneEvent(header.kind, label=header.flow, frame=frame))
        self.rx_count += 1
        return True

    def _take_lane_frame(self, kind: Type, tag: bytes, sealed: bytes, now: float) -> LaneEvent:
        body = self.rx_half.open(self.rx, kind, self.rx_count, tag, sealed)
        fields = {} if kind is Type.PADDING else body_decode(kind, body)
        match kind:
            case Type.CONFIRM:
                self._take_confirm(fields)
            case Type.PING:
                self.ping_budget.spend(now)
                self.send(Type.PONG, body, now)
            case Type.PONG:
                if self.pings.pop(int.from_bytes(body), None) is None:
                    self.counts["unknown pong"] += 1
            case Type.REKEY:
                self._take_rekey(fields, now)
            case Type.DRAIN:
                self.state = State.DRAINING
            case Type.CLOSE:
                self._end(Reason.PEER_CLOSED)
        return LaneEvent(kind, fields)

    def _take_confirm(self, fields: Mapping[str, int | bytes]) -> None:
        mine = {"version": VERSION, "index": self.index, "number": self.number, "binding": self.binding}
        if self.state is not State.CONFIRMING or fields != mine:
            raise Refused(Reason.BAD_CONFIRM)
        self.state = State.UP

    def _take_rekey(self, fields: Mapping[str, int | bytes], now: float) -> None:
        if fields["next_epoch"] != self.rx.number + 1:
            raise Refused(Reason.BAD_EPOCH, f"next is {fields['next_epoch']!r}")
        self.rekey_budget.spend(now)
        mix_id = fields["mix_id"]
        assert isinstance(mix_id, int)
        self.owed.step(mix_id, now)
        self.rx = self.rx.next(self._mix(mix_id, self.rx_half.direction))

    def _mix(self, mix_id: int, direction: int) -> bytes:
        if mix_id == 0:
            return NO_MIX
        if mix_id not in self.renewals:
            raise Refused(Reason.UNKNOWN_MIX, f"{mix_id}")
        return mix_of(self.renewals[mix_id], direction, self.number)

    def _end(self, reason: Reason) -> None:
        self.state = State.CLOSED
        self.reason = reason


class LaneDoor:
    """What the acceptor of one link knows of its lanes' numbers and indexes."""

    def __init__(self, secrets: LinkSecrets, link_id: bytes, lanes: int) -> None:
        self.secrets, self.link_id, self.lanes = secrets, link_id, lanes
        self.seen: set[int] = set()
        self.up: set[int] = set()

    def take(self, data: bytes) -> tuple[Preamble, bytes]:
        """Take a preamble and return it with the secret of its lane."""
        preamble = preamble_decode(data, {self.link_id: self.secrets.proof_key})
        greatest = max(self.seen, default=-1)
        if preamble.number in self.seen or abs(preamble.number - greatest) > NUMBERS_AHEAD:
            raise Refused(Reason.BAD_PREAMBLE, f"number {preamble.number}")
        self.seen.add(preamble.number)
        if preamble.index >= self.lanes or preamble.index in self.up:
            raise Refused(Reason.BAD_PREAMBLE, f"index {preamble.index}")
        return preamble, self.secrets.lane_secret(preamble.number)
