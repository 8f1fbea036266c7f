"""A neighbour made of the reference, over real TCP: for scenarios of malice, and of a relay that lies.

The control handshake is made elsewhere; its outcome is given here (Link, Session). A Neighbour is one lane.
It does by itself only what keeps a lane up: CONFIRM, PONG and PING. All else is sent by the test, well formed or not,
and all that arrives is kept in order. A FarEdge hangs a session's flow on a lane, so that it acts as the far edge.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.reference.flows import Arrival, Flow
from tests.reference.frames import FlowFrame, Header, Type
from tests.reference.keys import PREAMBLE_SIZE, LinkSecrets, Preamble, Suite, flow_secret
from tests.reference.lanes import PROBE_INTERVAL, Lane, LaneDoor, LaneEvent
from tests.reference.lanes import State as LaneState
from tests.reference.records import Record, records_encode
from tests.reference.refusals import Reason, Refused
from tests.reference.streams import Streams

READ_SIZE = 65_536
WAIT = 20.0


@dataclass(frozen=True)
class Link:
    """What the control connection of a link has agreed on. The dialler of the link is its TLS client."""

    secret: bytes
    binding: bytes
    suite: Suite
    link_id: bytes
    lanes: int = 1
    renewals: dict[int, bytes] = field(default_factory=dict)

    def lane(self, index: int, number: int, is_dialler: bool) -> Lane:
        return Lane(
            LinkSecrets(self.secret).lane_secret(number),
            self.suite,
            index=index,
            number=number,
            binding=self.binding,
            is_dialler=is_dialler,
            renewals=self.renewals,
        )

    def preamble(self, index: int, number: int) -> bytes:
        return Preamble(index, number, self.link_id).encode(LinkSecrets(self.secret).proof_key)


@dataclass(frozen=True)
class Session:
    """What a session's handshake has agreed on, and the labels of its path on this link."""

    secret: bytes
    binding: bytes
    suite: Suite
    is_initiator: bool
    label_out: int
    label_in: int
    renewals: dict[int, bytes] = field(default_factory=dict)

    def flow(self, index: int) -> Flow:
        secret = flow_secret(self.secret, index)
        return Flow(secret, self.suite, index, self.binding, self.is_initiator, renewals=self.renewals)


class Neighbour:
    """One lane over TCP. Why it ended stands in `lane.reason`, once `ended` is set."""

    def __init__(self, lane: Lane, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.lane = lane
        self.events: list[LaneEvent] = []
        self.ended = asyncio.Event()
        self.on_flow: dict[int, Callable[[FlowFrame], None]] = {}
        self._reader, self._writer = reader, writer
        self._changed = asyncio.Condition()
        self._is_held = False
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._probe())]

    def send(self, kind: Type, body: bytes, damage: int | None = None) -> None:
        """A lane frame of any content; `damage` is the place of a byte that is changed after the seal."""
        self.lane.send(kind, body, self.now())
        self._flush(damage)

    def send_flow(self, label: int, frame: FlowFrame, damage: int | None = None) -> None:
        """A flow frame of this or any other session, as it is or changed."""
        self.lane.send_flow(label, frame, self.now())
        self._flush(damage)

    def send_header(self, header: Header, tag: bytes, sealed: bytes) -> None:
        """A frame whose sealed header says anything at all."""
        self.lane.send_header(header, tag, sealed, self.now())
        self._flush()

    def send_wire(self, data: bytes) -> None:
        """Bytes that nobody sealed."""
        self._writer.write(data)

    async def send_byte_by_byte(self, data: bytes) -> None:
        """A frame in pieces of one byte. What else the lane has to say meanwhile comes behind it, not into it."""
        self._is_held = True
        try:
            for byte in data:
                self._writer.write(bytes([byte]))
                await asyncio.sleep(0)
        finally:
            self._is_held = False
        self._flush()

    async def until(self, holds: Callable[[], bool], seconds: float = WAIT) -> None:
        """Wait until something holds that only an arriving frame, or the end of the lane, can bring about."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(holds)

    async def until_up(self) -> None:
        await self.until(lambda: self.lane.state is not LaneState.CONFIRMING or self.ended.is_set())
        if self.lane.state is not LaneState.UP:
            raise Refused(self.lane.reason or Reason.SOCKET)

    async def arrived(self, kind: Type) -> LaneEvent:
        """The last frame of a type that came, as soon as there is one."""
        await self.until(lambda: any(event.type is kind for event in self.events))
        return [event for event in self.events if event.type is kind][-1]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    def _flush(self, damage: int | None = None) -> None:
        if damage is not None:
            self.lane.out[damage] ^= 1
        if self._is_held:
            return
        if not self._writer.is_closing():
            self._writer.write(bytes(self.lane.out))
        self.lane.out.clear()

    async def _read(self) -> None:
        with contextlib.suppress(OSError, Refused):
            while self.lane.state is not LaneState.CLOSED and (data := await self._reader.read(READ_SIZE)):
                await self._take(data)
        self.lane.ended()
        self._flush()
        self._writer.close()
        self.ended.set()
        async with self._changed:
            self._changed.notify_all()

    async def _take(self, data: bytes) -> None:
        try:
            self.lane.receive(data, self.now())
        finally:
            self._flush()
            for event in self.lane.taken:
                self.events.append(event)
                if event.frame is not None and event.label in self.on_flow:
                    self.on_flow[event.label](event.frame)
            async with self._changed:
                self._changed.notify_all()

    async def _probe(self) -> None:
        token = 0
        while self.lane.state is not LaneState.CLOSED:
            await asyncio.sleep(PROBE_INTERVAL)
            if self.lane.state in (LaneState.UP, LaneState.DRAINING):
                token += 1
                self.lane.ping(token, self.now())
                self._flush()


class FarEdge:
    """The far edge of a session, with one flow on one lane. It acknowledges at once, unless `mute`."""

    def __init__(self, session: Session, neighbour: Neighbour) -> None:
        self.session, self.neighbour = session, neighbour
        self.flow = session.flow(neighbour.lane.index)
        self.streams = Streams(session.is_initiator)
        self.arrivals: list[Arrival] = []
        self.refused: list[Reason] = []
        self.mute = False
        self.attach(neighbour)

    def attach(self, neighbour: Neighbour) -> None:
        """Go over to another lane, or stay; the test resumes the flow by itself."""
        self.neighbour = neighbour
        neighbour.on_flow[self.session.label_in] = self._take

    async def start(self) -> None:
        """Exchange FLOW_CONFIRM."""
        if self.session.is_initiator:
            self.flow.start(self.neighbour.now())
            self.flush()
        await self.neighbour.until(lambda: self.flow.confirmed)

    def send(self, *records: Record) -> None:
        """Records as an honest edge sends them: its own table of streams must allow them."""
        for record in records:
            self.streams.sent(record)
        self.send_anyway(records_encode(list(records)))

    def send_anyway(self, body: bytes) -> None:
        """A BUNDLE of any bytes, well sealed."""
        self.flow.send_bundle(body, self.neighbour.now())
        self.flush()

    def send_frame(self, kind: Type, body: bytes, **changes: int) -> None:
        """A flow frame of any type and content under its next number; `changes` alter it after the seal."""
        flow = self.flow
        volatile = kind.is_volatile
        epoch, number = (flow.tx_control, flow.next_volatile) if volatile else (flow.tx, flow.next_number)
        if kind is Type.DATAGRAMS:
            number = flow.next_datagrams
        tag, sealed = flow.tx_half.seal(epoch, kind, number, body)
        if kind is Type.DATAGRAMS:
            flow.next_datagrams += 1
        elif volatile:
            flow.next_volatile += 1
        else:
            flow.next_number += 1
        parts: dict[str, int] = {"epoch": epoch.number, "number": number, "type": kind} | changes
        frame = FlowFrame(Type(parts["type"]), parts["epoch"], parts["number"], tag, sealed)
        self.neighbour.send_flow(self.session.label_out, frame)

    def flush(self) -> None:
        waiting, self.flow.out = self.flow.out, []
        for frame in waiting:
            self.neighbour.send_flow(self.session.label_out, frame)

    def data(self, stream: int) -> bytes:
        """All bytes that have come on a stream."""
        records = [record for arrival in self.arrivals for record in arrival.records]
        return b"".join(record.data for record in records if record.stream == stream and record.kind.name == "DATA")

    def _take(self, frame: FlowFrame) -> None:
        try:
            arrival = self.flow.receive(frame, self.neighbour.now())
            if arrival is not None:
                self.arrivals.append(arrival)
                for record in arrival.records:
                    self.streams.received(record, self.neighbour.now())
                if not frame.type.is_volatile and not self.mute:
                    self.flow.send_ack()
        except Refused as refused:
            self.refused.append(refused.reason)
        self.flush()


async def dial(link: Link, host: str, port: int, *, index: int = 0, number: int = 0) -> Neighbour:
    """Open a lane of a link and send CONFIRM; the other's is awaited with `until_up`."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(link.preamble(index, number))
    return _begin(link.lane(index, number, True), reader, writer)


@contextlib.asynccontextmanager
async def listen(
    link: Link, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[tuple[int, asyncio.Queue[Neighbour]]]:
    """Accept lanes of one link: yields the port and a queue of the lanes that were taken."""
    door = LaneDoor(LinkSecrets(link.secret), link.link_id, link.lanes)
    taken: asyncio.Queue[Neighbour] = asyncio.Queue()
    neighbours: list[Neighbour] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            preamble, _secret = door.take(await reader.readexactly(PREAMBLE_SIZE))
        except (Refused, asyncio.IncompleteReadError, OSError):
            writer.close()
            return
        neighbours.append(_begin(link.lane(preamble.index, preamble.number, False), reader, writer))
        taken.put_nowait(neighbours[-1])

    server = await asyncio.start_server(accept, host, port)
    try:
        yield server.sockets[0].getsockname()[1], taken
    finally:
        server.close()
        for neighbour in neighbours:
            await neighbour.close()


def _begin(lane: Lane, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Neighbour:
    lane.confirm(Neighbour.now())
    neighbour = Neighbour(lane, reader, writer)
    neighbour._flush()
    return neighbour
