"""A relay with a good certificate, played by the test: honest until it is told how to lie.

Its control plane is a few lines on the product's handshake; its lanes are the reference's. It sees what any relay sees:
labels, types, numbers, epochs and sealed bodies.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Self
from unittest import mock

from msgspec import structs

from pcgrelay.identity import handshake
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.control import handshake_over
from pcgrelay.messages import Advert, Carry, Message, PathAccept, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId
from tests.reference.frames import FlowFrame, Type
from tests.reference.keys import PREAMBLE_SIZE, LinkSecrets
from tests.reference.lanes import LaneDoor
from tests.reference.node import Neighbour
from tests.reference.refusals import Refused
from tests.scenarios.kit.malicious_member import HUB_ROLE, Linked, Member, anybody
from tests.scenarios.kit.nodes import HOST, HUB
from tests.support.pki import RealmPki
from tests.support.ports import free_port

TLS_FIRST = 0x16


@dataclass(eq=False)
class Side:
    """A neighbouring edge: its link, its lane, and what arrives there."""

    linked: Linked
    door: LaneDoor
    labels: dict[int, Callable[[FlowFrame], None]] = field(default_factory=dict)
    neighbour: Neighbour | None = None

    @property
    def id(self) -> NodeId:
        return self.linked.peer

    @property
    def name(self) -> str:
        return self.id.name


@dataclass(eq=False)
class Path:
    """A path from the edge that asked (a) to the one that answered (b). in: our label; out: theirs."""

    asked: PathOpen
    a: Side
    b: Side
    a_in: int
    b_in: int
    b_out: int = 0
    # By the edge that frames go to: the last of each type, and the number that comes next.
    seen: dict[tuple[str, Type], FlowFrame] = field(default_factory=dict)
    next_number: dict[str, int] = field(default_factory=dict)

    def other(self, side: Side) -> Side:
        return self.b if side is self.a else self.a

    def out(self, side: Side) -> int:
        """The label under which this side takes frames."""
        return self.asked.label if side is self.a else self.b_out


# What becomes of a message or frame on its way to a side: none, one or more of them.
OnMessage = Callable[[Side, Message], Sequence[Message]]
OnFrame = Callable[[Path, Side, FlowFrame], Sequence[FlowFrame]]


def honest_message(to: Side, message: Message) -> Sequence[Message]:
    return (message,)


def honest_frame(path: Path, to: Side, frame: FlowFrame) -> Sequence[FlowFrame]:
    return (frame,)


@contextmanager
def ids_given(link_id: bytes) -> Iterator[None]:
    """Let the handshakes of this process, for a while, give links that id."""
    if not link_id:
        yield
        return
    drawn = SimpleNamespace(urandom=lambda size: link_id if size == len(link_id) else os.urandom(size))
    with mock.patch.object(handshake, "os", drawn):
        yield


@contextmanager
def not_taken_yet(sock: socket.socket) -> Iterator[None]:
    """Close it if this ends by an error, or is cancelled, before somebody else has it."""
    try:
        yield
    except BaseException:
        sock.close()
        raise


class LyingRelay:
    """The double. `on_message` and `on_frame` are how it lies; put back by `be_honest`."""

    def __init__(self, pki: RealmPki) -> None:
        self.member = Member(HUB, "relay-1", pki.issue(HUB, "relay-1"), HUB_ROLE)
        self.port = free_port()
        self.sides: dict[str, Side] = {}
        self.exchange: dict[str, Advert] = {}
        self.paths: dict[bytes, Path] = {}
        self.faults: list[Exception] = []
        self.on_message: OnMessage = honest_message
        self.on_frame: OnFrame = honest_frame
        self.on_advert: Callable[[Side, Advert], Sequence[Message]] = honest_message
        self.link_id = b""  # that it gives to links from now on; none: a fresh one to each
        self._labels = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sock = socket.socket()

    async def __aenter__(self) -> Self:
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._sock.bind((HOST, self.port))
        self._sock.listen(128)
        self._sock.setblocking(False)
        self._spawn(self._accept())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._sock.close()
        for side in self.sides.values():
            await side.linked.close()

    def be_honest(self) -> None:
        self.on_message, self.on_frame, self.on_advert = honest_message, honest_frame, honest_message

    def latest(self, marking: int = 1) -> Path:
        """The path of that class that was asked for last."""
        return [path for path in self.paths.values() if path.asked.marking == marking][-1]

    async def acknowledged(self, to: str) -> None:
        """Wait until an ACK has passed to that edge in the latest session."""
        path = self.latest()
        side = next(side for side in (path.a, path.b) if side.name != to)
        assert side.neighbour is not None
        await side.neighbour.until(lambda: (to, Type.ACK) in path.seen)

    def send_frame(self, path: Path, to: Side, frame: FlowFrame) -> None:
        """Put a frame of any content on a path, without a lie on the way."""
        assert to.neighbour is not None
        to.neighbour.send_flow(path.out(to), frame)

    def cut(self) -> None:
        """Let TCP end on every connection of every side, as if all had been said."""
        for side in self.sides.values():
            if side.neighbour is not None:
                side.neighbour._writer.close()
            side.linked._connection.end("cut")

    # -- what comes in -----------------------------------------------------------------------------------------

    async def _accept(self) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
            sock.setblocking(False)
            self._spawn(self._admit(sock))

    async def _admit(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with not_taken_yet(sock):
            first = await loop.sock_recv(sock, 1)
        if first == b"":
            sock.close()
        elif first[0] == TLS_FIRST:
            await self._admit_control(sock, first)
        else:
            await self._admit_lane(sock, first)

    async def _admit_control(self, sock: socket.socket, first: bytes) -> None:
        try:
            with not_taken_yet(sock), ids_given(self.link_id):
                established, connection = await handshake_over(
                    sock,
                    self.member.context,
                    self.member.parameters(),
                    anybody,
                    client=False,
                    deadline_ms=5_000,
                    first=first,
                )
        except HandshakeRefused:
            return
        linked = Linked(self.member, established, connection)
        side = Side(linked, LaneDoor(LinkSecrets(linked.reference.secret), linked.reference.link_id, 1))
        linked.on_message = lambda message: self._take(side, message)
        self.sides[side.name] = side

    async def _admit_lane(self, sock: socket.socket, first: bytes) -> None:
        loop = asyncio.get_running_loop()
        data = bytearray(first)
        with not_taken_yet(sock):
            while len(data) < PREAMBLE_SIZE and (piece := await loop.sock_recv(sock, PREAMBLE_SIZE - len(data))):
                data += piece
        for side in self.sides.values():
            if side.door.link_id == bytes(data[16:32]):
                with suppress(Refused):
                    preamble, _ = side.door.take(bytes(data))
                    await self._lane_begun(side, preamble.number, sock)
                    return
        sock.close()

    async def _lane_begun(self, side: Side, number: int, sock: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        lane = side.linked.reference.lane(0, number, False)
        lane.confirm(Neighbour.now())
        side.neighbour = Neighbour(lane, reader, writer)
        side.linked.link_table.append(side.neighbour)
        side.neighbour.on_flow = side.labels
        side.neighbour._flush()
        await side.neighbour.until_up()
        for advert in self.exchange.values():
            self._tell(side, advert)

    # -- the control plane -------------------------------------------------------------------------------------

    def _take(self, side: Side, message: Message) -> None:
        if isinstance(message, Advert):
            edge = side.id.uri
            self.exchange[edge] = message
            for other in self.sides.values():
                if other is not side and other.neighbour is not None:
                    self._tell(other, message)
        elif isinstance(message, PathOpen):
            self._asked(side, message)
        elif isinstance(message, PathAccept | PathRefuse | PathClose | Carry):
            path = self.paths.get(message.session)
            if path is not None:
                self._passed(path, side, message)

    def _tell(self, side: Side, advert: Advert) -> None:
        passed = Advert(advert.entry, advert.signature, advert.chain, (*advert.path, self.member.id.uri))
        side.linked.send(*self.on_advert(side, passed))

    def _asked(self, a: Side, asked: PathOpen) -> None:
        name = NodeId.from_uri(asked.destination).name
        b = self.sides.get(name)
        if b is None:
            a.linked.send(PathRefuse(asked.session, 6, "no_route", self.member.id.uri))
            return
        path = Path(asked, a, b, next(self._labels), next(self._labels))
        if old := self.paths.pop(asked.session, None):
            path.seen, path.next_number = old.seen, old.next_number
        self.paths[asked.session] = path
        passed = PathOpen(
            session=asked.session,
            source=asked.source,
            destination=asked.destination,
            marking=asked.marking,
            priority=asked.priority,
            flows=asked.flows,
            cap=asked.cap,
            label=path.b_in,
            resume=asked.resume,
            via=(*asked.via, self.member.id.uri),
        )
        b.linked.send(*self.on_message(b, passed))

    def _passed(self, path: Path, side: Side, message: Message) -> None:
        if isinstance(message, PathAccept):
            path.b_out = message.label
            path.a.labels[path.a_in] = lambda frame: self._forward(path, path.b, frame)
            path.b.labels[path.b_in] = lambda frame: self._forward(path, path.a, frame)
            message = PathAccept(message.session, message.flows, message.cap, path.a_in)
        to = path.other(side)
        if not isinstance(message, Carry):
            message = structs.replace(message, opened=path.asked.label if to is path.a else path.b_in)
        to.linked.send(*self.on_message(to, message))

    def _forward(self, path: Path, to: Side, frame: FlowFrame) -> None:
        path.seen[to.name, frame.type] = frame
        if not frame.type.is_volatile:
            path.next_number[to.name] = max(path.next_number.get(to.name, 0), frame.number + 1)
        try:
            for passed in self.on_frame(path, to, frame):
                self.send_frame(path, to, passed)
        except (AssertionError, LookupError, TypeError, ValueError) as error:
            # The test looks here; raised, it would only end the lane.
            self.faults.append(error)

    def _spawn(self, work: object) -> None:
        task = asyncio.ensure_future(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()
