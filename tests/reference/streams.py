"""Streams of one flow: their states and their credit (protocol, sections 7.1 and 7.2).

TABLE is the table of section 7.1, column by column: (sending, kind) to the next state. What is not in it is refused.
"""

from dataclasses import dataclass
from enum import Enum

from tests.reference.records import Kind, Record, Transport
from tests.reference.refusals import Budget, Reason, Refused

EARLY_LIMIT = 16_384
AHEAD_LIMIT = 1 << 31
ID_LIMIT = (1 << 32) - 2


class State(Enum):
    IDLE = "IDLE"
    OPENING = "OPENING"
    OPENING_FIN = "OPENING_FIN"
    ANSWERING = "ANSWERING"
    ANSWERING_FIN = "ANSWERING_FIN"
    OPEN = "OPEN"
    HALF_LOCAL = "HALF_LOCAL"
    HALF_REMOTE = "HALF_REMOTE"
    CLOSED = "CLOSED"


TX, RX = True, False
S = State
TABLE: dict[State, dict[tuple[bool, Kind], State]] = {
    S.IDLE: {(TX, Kind.OPEN): S.OPENING, (RX, Kind.OPEN): S.ANSWERING},
    S.OPENING: {
        (RX, Kind.ACCEPT): S.OPEN,
        (TX, Kind.DATA): S.OPENING,
        (TX, Kind.FIN): S.OPENING_FIN,
    },
    S.OPENING_FIN: {(RX, Kind.ACCEPT): S.HALF_LOCAL},
    S.ANSWERING: {
        (TX, Kind.ACCEPT): S.OPEN,
        (RX, Kind.DATA): S.ANSWERING,
        (RX, Kind.FIN): S.ANSWERING_FIN,
    },
    S.ANSWERING_FIN: {(TX, Kind.ACCEPT): S.HALF_REMOTE},
    S.OPEN: {
        (TX, Kind.DATA): S.OPEN,
        (RX, Kind.DATA): S.OPEN,
        (TX, Kind.FIN): S.HALF_LOCAL,
        (RX, Kind.FIN): S.HALF_REMOTE,
    },
    S.HALF_LOCAL: {(RX, Kind.DATA): S.HALF_LOCAL, (RX, Kind.FIN): S.CLOSED},
    S.HALF_REMOTE: {(TX, Kind.DATA): S.HALF_REMOTE, (TX, Kind.FIN): S.CLOSED},
    S.CLOSED: {},
}
# RESET ends, and CREDIT leaves alone, every state between IDLE and CLOSED.
for _state in set(State) - {S.IDLE, S.CLOSED}:
    for _sending in (TX, RX):
        TABLE[_state][_sending, Kind.RESET] = S.CLOSED
        TABLE[_state][_sending, Kind.CREDIT] = _state


@dataclass
class Side:
    """One direction of a stream: what was sent in it, and up to where it may be."""

    sent: int = 0
    limit: int = EARLY_LIMIT

    def spend(self, size: int) -> None:
        if size > self.limit - self.sent:
            raise Refused(Reason.CREDIT_EXCEEDED, f"{self.sent} + {size} > {self.limit}")
        self.sent += size

    def grant(self, limit: int) -> None:
        if limit < self.limit or limit - self.sent > AHEAD_LIMIT:
            raise Refused(Reason.BAD_CREDIT, f"{limit}")
        self.limit = limit


class Stream:
    """One stream, as one edge sees it."""

    def __init__(self) -> None:
        self.state = State.IDLE
        self.is_of_datagrams = False
        self.tx = Side()
        self.rx = Side()

    def step(self, sending: bool, record: Record) -> None:
        following = TABLE[self.state].get((sending, record.kind))
        if following is None:
            raise Refused(Reason.BAD_STATE, f"{record.kind.name} in {self.state.name}")
        mine, other = (self.tx, self.rx) if sending else (self.rx, self.tx)
        if record.kind is Kind.OPEN:
            self.is_of_datagrams = record.fields["transport"] == Transport.DATAGRAM
        if self.is_of_datagrams:
            self._step_of_datagrams(record, following)
            return
        match record.kind:
            case Kind.OPEN:
                other.limit = 0
                other.grant(record.number("limit"))
            case Kind.ACCEPT:
                other.grant(record.number("limit"))
            case Kind.CREDIT:
                other.grant(record.number("limit"))
            case Kind.DATA:
                mine.spend(len(record.data))
            case Kind.FIN if record.number("final_offset") != mine.sent:
                raise Refused(Reason.BAD_FINAL, f"{record.number('final_offset')} after {mine.sent}")
        self.state = following

    def _step_of_datagrams(self, record: Record, following: State) -> None:
        """7.3: neither bytes nor credit."""
        if record.kind in {Kind.DATA, Kind.FIN, Kind.CREDIT}:
            raise Refused(Reason.BAD_STATE, f"{record.kind.name} of a stream of datagrams")
        if record.kind in {Kind.OPEN, Kind.ACCEPT} and record.number("limit"):
            raise Refused(Reason.BAD_CREDIT, "a limit of a stream of datagrams")
        self.state = following


class Streams:
    """The streams of a flow. Closed ones are forgotten: what still comes for them is late."""

    def __init__(self, is_initiator: bool) -> None:
        self.is_initiator = is_initiator
        self.open: dict[int, Stream] = {}
        self.last = {TX: 0, RX: 0}
        self.late = 0
        self.datagrams = self.ignored = 0
        self.late_budget = Budget(100_000, 10_000)

    def opener(self, stream: int) -> bool:
        """TX if this side gives out that id, else RX."""
        return (stream % 2 == 1) == self.is_initiator

    def next_id(self) -> int:
        last = self.last[TX]
        following = last + 2 if last else (1 if self.is_initiator else 2)
        if following > ID_LIMIT:
            raise Refused(Reason.STREAM_IDS)
        return following

    def sent(self, record: Record) -> None:
        """Note a record that this side sends. Refuses what it may not send."""
        self._step(TX, record)

    def received(self, record: Record, now: float) -> bool:
        """Take a record; False if it is late, or a datagram of no open stream of datagrams."""
        if record.kind is Kind.PAD:
            return True
        if record.kind is Kind.DATAGRAM:
            return self._datagram(record)
        if record.kind is not Kind.OPEN and record.stream not in self.open and self._was_opened(record.stream):
            self.late_budget.spend(now)
            self.late += 1
            return False
        self._step(RX, record)
        return True

    def _datagram(self, record: Record) -> bool:
        stream = self.open.get(record.stream)
        is_taken = stream is not None and stream.is_of_datagrams
        self.datagrams += is_taken
        self.ignored += not is_taken
        return is_taken

    def _was_opened(self, stream: int) -> bool:
        return stream <= self.last[self.opener(stream)]

    def _step(self, sending: bool, record: Record) -> None:
        if record.kind in {Kind.PAD, Kind.DATAGRAM}:
            return
        if record.kind is Kind.OPEN:
            if self.opener(record.stream) != sending or self._was_opened(record.stream):
                raise Refused(Reason.BAD_STREAM, f"OPEN of {record.stream}")
            opened = Stream()
            opened.step(sending, record)
            self.open[record.stream] = opened
            self.last[sending] = record.stream
            return
        if record.stream not in self.open:
            raise Refused(Reason.BAD_STREAM, f"{record.kind.name} of {record.stream}")
        stream = self.open[record.stream]
        stream.step(sending, record)
        if stream.state is State.CLOSED:
            del self.open[record.stream]
