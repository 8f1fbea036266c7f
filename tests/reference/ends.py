"""One edge with one lane and one flow over it, without a socket: what tests and vectors set against another."""

from dataclasses import dataclass

from tests.reference.flows import Arrival, Flow, NotNow
from tests.reference.flows import State as FlowState
from tests.reference.frames import FlowFrame, Type, body_encode
from tests.reference.keys import LinkSecrets, Suite, flow_secret
from tests.reference.lanes import Lane
from tests.reference.records import Record, records_encode
from tests.reference.refusals import Code, Reason, Refused
from tests.reference.streams import Streams

FORMER_S = 1.0


@dataclass(frozen=True)
class Given:
    """What two control planes have agreed on before the first lane."""

    link_secret: bytes
    link_binding: bytes
    session_secret: bytes
    session_binding: bytes
    suite: Suite = Suite.AES_256_GCM
    index: int = 0
    # The label that each side gave out: direction 0 is sent to the responder's.
    initiator_label: int = 0x1111
    responder_label: int = 0x2222
    # Renewal secrets by mix id.
    link_renewals: tuple[tuple[int, bytes], ...] = ()
    session_renewals: tuple[tuple[int, bytes], ...] = ()


class End:
    """The dialler and initiator, or the acceptor and responder."""

    def __init__(self, given: Given, is_initiator: bool, number: int = 0) -> None:
        self.given, self.is_initiator = given, is_initiator
        self.label_in, self.label_out = given.responder_label, given.initiator_label
        if is_initiator:
            self.label_in, self.label_out = self.label_out, self.label_in
        self.former: tuple[int, float] = (0, 0.0)  # the label of the path before, and until when datagrams may use it
        self.candidates: dict[int, int] = {}  # labels of paths that may become the session's: ours, the peer's
        self.streams = Streams(is_initiator)
        self.flow = Flow(
            flow_secret(given.session_secret, given.index),
            given.suite,
            given.index,
            given.session_binding,
            is_initiator,
            renewals=dict(given.session_renewals),
        )
        self.lane = self.new_lane(number)

    def new_lane(self, number: int) -> Lane:
        """Go over to a fresh lane, unconfirmed."""
        self.lane = Lane(
            LinkSecrets(self.given.link_secret).lane_secret(number),
            self.given.suite,
            index=self.given.index,
            number=number,
            binding=self.given.link_binding,
            is_dialler=self.is_initiator,
            renewals=dict(self.given.link_renewals),
        )
        return self.lane

    def send_records(self, *records: Record, now: float = 0.0) -> None:
        # What cannot be sent must not be noted as sent.
        if self.flow.state is not FlowState.UP:
            raise NotNow(self.flow.state.name)
        for record in records:
            self.streams.sent(record)
        self.flow.send_bundle(records_encode(list(records)), now)

    def take_out(self) -> list[bytes]:
        """All that waits to be sent, one wire frame each."""
        wires = [bytes(self.lane.out)] if self.lane.out else []
        self.lane.out.clear()
        for frame in self.flow.out:
            self.lane.send_flow(self.label_out, frame)
            wires.append(bytes(self.lane.out))
            self.lane.out.clear()
        self.flow.out.clear()
        return wires

    def receive(self, data: bytes, now: float = 0.0) -> list[Arrival]:
        """Take bytes of the lane. What is wrong closes the lane or the flow, as section 4.4 says, and is raised."""
        arrivals: list[Arrival] = []
        for event in self.lane.receive(data, now):
            if event.frame is None:
                if event.type is Type.LOST and event.fields["flow"] == self.label_out:
                    self.flow.path_lost(now)
                arrivals.append(Arrival(event.type, event.fields))
            elif event.label in self.candidates:
                arrivals += self._take_candidate(event.label, event.frame, now)
            elif self._is_late(event.label, event.frame, now):
                arrivals += self._take_late(event.frame, now)
            elif event.label != self.label_in:
                lost = body_encode(Type.LOST, flow=event.label, code=Code.UNKNOWN)
                self.lane.send(Type.LOST, lost)
                raise Refused(Reason.UNKNOWN_FLOW, f"{event.label:#x}")
            else:
                arrivals += self.take_flow_frame(event.frame, now)
        return arrivals

    def _take_candidate(self, label: int, frame: FlowFrame, now: float) -> list[Arrival]:
        """9.5: the path is led over a candidate by the far edge alone."""
        try:
            leads = self.flow.leads(frame)
        except Refused:
            del self.candidates[label]
            return []
        if not leads:
            return []
        self.former = (self.label_in, now + FORMER_S)
        self.label_in, self.label_out = label, self.candidates.pop(label)
        if self.flow.confirmed:
            self.flow.path_paused(now)
        return self.take_flow_frame(frame, now)

    def _is_late(self, label: int, frame: FlowFrame, now: float) -> bool:
        """9.5: of the path before datagrams alone are taken, for a moment."""
        return label == self.former[0] and frame.type is Type.DATAGRAMS and now < self.former[1]

    def _take_late(self, frame: FlowFrame, now: float) -> list[Arrival]:
        try:
            return self.take_flow_frame(frame, now)
        except Refused:
            self.former = (0, 0.0)
            return []

    def take_flow_frame(self, frame: FlowFrame, now: float) -> list[Arrival]:
        arrival = self.flow.receive(frame, now)
        if arrival is None:
            return []
        if arrival.type is Type.BUNDLE:
            try:
                for record in arrival.records:
                    self.streams.received(record, now)
            except Refused as refused:
                code = Code.LIMIT if refused.reason is Reason.GLITCHES else Code.VIOLATION
                self.flow.close(code, refused.reason)
                raise
        return [arrival]

    @property
    def is_up(self) -> bool:
        return self.flow.state is FlowState.UP


def settle(one: End, other: End, now: float = 0.0) -> None:
    """Carry frames to and fro until both are silent."""
    while wires := (one.take_out(), other.take_out()):
        if not any(wires):
            return
        for wire in wires[0]:
            other.receive(wire, now)
        for wire in wires[1]:
            one.receive(wire, now)


def started(given: Given) -> tuple[End, End]:
    """Two ends whose lane and flow are up."""
    initiator, responder = End(given, True), End(given, False)
    initiator.lane.confirm()
    responder.lane.confirm()
    settle(initiator, responder)
    initiator.flow.start()
    settle(initiator, responder)
    return initiator, responder


def reconnected(initiator: End, responder: End, number: int, now: float = 0.0) -> None:
    """Both go over to a new lane, confirm it and resume the flow. What was on the old one is gone."""
    for end in (initiator, responder):
        end.flow.path_lost(now)
        end.new_lane(number).confirm(now)
    settle(initiator, responder, now)
    for end in (initiator, responder):
        end.flow.path_ready()
    settle(initiator, responder, now)
