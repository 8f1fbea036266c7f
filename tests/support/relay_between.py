"""A relay of the core between two neighbours that the reference plays."""

from dataclasses import dataclass

from tests.native.probe import LinkKeys
from tests.native.probe_link import Lane, Relay
from tests.reference.frames import FlowFrame, Type
from tests.reference.keys import LinkSecrets, Suite
from tests.reference.lanes import Lane as ReferenceLane
from tests.reference.lanes import LaneEvent
from tests.support.virtual_wires import secret

NEAR, FAR, THIRD = 1, 2, 3  # the links
# Labels: what the relay gave on each link, and what the neighbour there gave.
NEAR_IN, NEAR_OUT, FAR_IN, FAR_OUT = 11, 12, 21, 22
CAP = 131_072
UNREACHABLE, BUSY, UNKNOWN = 6, 3, 4


@dataclass
class Side:
    """One neighbour of the relay: the relay's lane and the reference's."""

    lane: Lane
    other: ReferenceLane

    def say(self, label: int, frame: FlowFrame) -> None:
        self.other.send_flow(label, frame)

    def flush(self, *, piece: int = 1 << 20) -> None:
        data = bytes(self.other.out)
        self.other.out.clear()
        for at in range(0, len(data), piece):
            self.lane.feed(data[at : at + piece])

    def hear(self) -> list[LaneEvent]:
        return self.other.receive(self.lane.take())


class Between:
    """A relay with a neighbour on each side and one path."""

    def __init__(self, *, up: bool = True, priority: int = 0, lanes: int = 1, **options: int) -> None:
        self.relay = Relay(**options)
        self.sides: dict[int, Side] = {}
        for link in (NEAR, FAR, THIRD):
            self.relay.link_add(link, suite=1, dialler=False, lanes=lanes, binding=secret(f"binding {link}"))
        self.relay.path_add(
            1, a_link=NEAR, a_in=NEAR_IN, a_out=NEAR_OUT, b_link=FAR, b_in=FAR_IN, b_out=FAR_OUT, cap=CAP,
            priority=priority,
        )  # fmt: skip
        self.near = self.open(NEAR)
        if up:
            self.far = self.open(FAR)

    def open(self, link: int, number: int = 0, index: int = 0) -> Side:
        given = secret(f"link {link}")
        keys = LinkKeys(given, bytes(16), index + 1)
        for _ in range(number + 1):
            keys.dial(index)
        other = ReferenceLane(
            LinkSecrets(given).lane_secret(number), Suite.AES_256_GCM, index=index, number=number,
            binding=secret(f"binding {link}"), is_dialler=True,
        )  # fmt: skip
        side = Side(self.relay.lane_start(link, index=index, number=number, secret=keys.take(number)), other)
        other.confirm()
        side.flush()
        side.hear()
        return side


def frame(number: int, size: int = 20, kind: Type = Type.BUNDLE) -> FlowFrame:
    """What a relay sees of a frame: it has no key to tell a good body from any other."""
    return FlowFrame(kind, 7, number, secret(f"tag {number}")[:16], secret(f"body {number}")[:1] * size)


def lost(event: LaneEvent) -> tuple[int, int]:
    assert event.type is Type.LOST
    return int(event.fields["flow"]), int(event.fields["code"])


class Crowded(Between):
    """Two paths to the far link, of which one is critical, and one to a third link. Nobody there reads."""

    NORMAL, CRITICAL, OTHER = 51, 52, 53  # by these labels the near link names them

    def __init__(self, lanes: int = 1, memory: int = 400_000) -> None:
        super().__init__(memory=memory, reserve=100_000, lanes=lanes)
        for label, out, priority in ((self.NORMAL, FAR, 0), (self.CRITICAL, FAR, 2), (self.OTHER, THIRD, 0)):
            self.relay.path_add(
                label, a_link=NEAR, a_in=label, a_out=1, b_link=out, b_in=100 + label, b_out=200 + label, cap=4 << 20,
                priority=priority, lanes=lanes,
            )  # fmt: skip
        self.nears = [self.near, *(self.open(NEAR, number=index, index=index) for index in range(1, lanes))]
        self.fars = [self.far, *(self.open(FAR, number=index, index=index) for index in range(1, lanes))]
        self.third = self.open(THIRD)

    def send(self, label: int, count: int, index: int = 0, first: int = 0) -> None:
        """So many frames of 5,000 bytes, each in a turn of its own."""
        for number in range(first, first + count):
            self.nears[index].say(label, frame(number, 5_000))
            self.nears[index].flush()

    def told(self, index: int = 0) -> list[tuple[int, int]]:
        return [lost(event) for event in self.nears[index].hear()]


def numbers(side: Side, label: int) -> list[int]:
    """What came by that label, until nothing more does."""
    heard: list[LaneEvent] = []
    while fresh := side.hear():
        heard += fresh
    return [event.frame.number for event in heard if event.frame and event.label == 200 + label]
