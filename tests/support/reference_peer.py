"""The reference as the far side of one edge of the core, over bytes alone: what it sends need not be well behaved."""

from tests.native.probe import LinkKeys
from tests.native.probe_edge import Edge
from tests.native.probe_link import DAY_US, Lane
from tests.reference.ends import End, Given
from tests.reference.flows import Arrival
from tests.reference.frames import FlowFrame, Type
from tests.reference.records import Record
from tests.reference.vectors_keys import secret

LINK, SESSION = 9, 5
GIVEN = Given(secret("link"), secret("link binding"), secret("session"), secret("session binding"))


class Peer:
    """An edge of the core, and the reference's end that speaks with it. is_initiator: the edge is."""

    def __init__(
        self, *, is_initiator: bool = False, given: Given = GIVEN, start: bool = True, organisation: int = 0
    ) -> None:
        self.edge = Edge()
        self.is_initiator, self.given = is_initiator, given
        self.end = End(given, not is_initiator)
        self.arrivals: list[Arrival] = []
        self.edge.link_add(LINK, suite=given.suite, dialler=is_initiator, lanes=1, binding=given.link_binding)
        self.edge.session_add(
            SESSION,
            secret=given.session_secret,
            binding=given.session_binding,
            suite=given.suite,
            initiator=is_initiator,
            flows=1,
            cap=1 << 20,
            organisation=organisation,
        )
        labels = [given.responder_label, given.initiator_label]
        in_label, out_label = reversed(labels) if is_initiator else labels
        self.edge.session_path(SESSION, link=LINK, in_label=in_label, out_label=out_label)
        self.edge.publish([(0, b"s")], [(0, b"s", [SESSION])], [(SESSION, 0)])
        self.lane = self.new_lane(0)
        if start:
            self.confirm()
            if not is_initiator:
                self.end.flow.start()
            self.settle()

    @property
    def now(self) -> float:
        """The reference's clock, in seconds, from the core's."""
        return (self.edge.now_us - DAY_US) / 1_000_000

    def new_lane(self, number: int) -> Lane:
        keys = LinkKeys(self.given.link_secret, bytes(16), 1)
        for _ in range(number + 1):
            keys.dial(0)
        self.lane = self.edge.lane_start(LINK, index=0, number=number, secret=keys.take(number))
        if number:
            self.end.new_lane(number)
        return self.lane

    def confirm(self) -> None:
        self.end.lane.confirm(self.now)
        self.settle()

    def settle(self) -> None:
        """Carry bytes to and fro until both are silent."""
        moved = True
        while moved:
            moved = False
            for wire in self.end.take_out():
                self.feed(wire)
                moved = True
            self.edge.turn()
            if sent := self.lane.take():
                self.arrivals += self.end.receive(sent, self.now)
                moved = True

    def feed(self, wire: bytes) -> None:
        if self.lane.state != "CLOSED":
            self.lane.feed(wire)

    def be_blind(self) -> None:
        """Send and take whatever records there are, with no table of its own."""
        self.end.streams.sent = lambda record: None  # type: ignore[method-assign]
        self.end.streams.received = lambda record, now: True  # type: ignore[method-assign]

    def send_body(self, body: bytes) -> None:
        """A BUNDLE of any bytes, well sealed."""
        self.end.flow.send_bundle(body, self.now)
        self.settle()

    def send(self, *records: Record) -> None:
        """Records as an honest edge sends them: its own table of streams must allow them."""
        self.end.send_records(*records, now=self.now)
        self.settle()

    def send_frame(self, frame: FlowFrame) -> None:
        """A flow frame from anywhere."""
        self.end.lane.send_flow(self.end.label_out, frame, self.now)
        self.settle()

    def send_lane(self, kind: Type, body: bytes) -> None:
        self.end.lane.send(kind, body, self.now)
        self.settle()

    def records(self) -> list[Record]:
        return [record for arrival in self.arrivals for record in arrival.records]

    def wait(self, seconds: float) -> None:
        self.edge.now_us += round(seconds * 1_000_000)
