"""A member of the realm played by the test: it links, opens sessions, and then says whatever the test likes.

Its handshakes are the product's own, so that they are good. Lanes, frames and flows are the reference's, which seal
anything at all.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from pcgrelay.catalogue.entries import STATE_READY, Offer, sign_entry
from pcgrelay.config import IdentitySettings
from pcgrelay.identity.credentials import load_credentials
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import (
    CHAIN_HASH,
    INTEREST,
    LINK_FEATURES,
    Handshake,
    HandshakeParameters,
    HandshakeResult,
)
from pcgrelay.identity.tls import HandshakeRefused, leaf_der, make_context
from pcgrelay.link.control import ControlConnection, handshake_over
from pcgrelay.messages import Advert, Beat, Carry, Message, PathAccept, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId, Role, Suite
from tests.reference.keys import Suite as ReferenceSuite
from tests.reference.lanes import Lane
from tests.reference.node import FarEdge, Neighbour
from tests.reference.node import Link as ReferenceLink
from tests.reference.node import Session as ReferenceSession
from tests.reference.node import dial as dial_lane
from tests.scenarios.kit.nodes import HOST
from tests.support.pki import REALM, Files, RealmPki

WAIT_S = 10.0
DEAF_BYTES = 65_536  # what the kernel takes for an end that does not read
EVIL = "evil.police.example"
HUB_ROLE = Role.RELAY
# As a version that is told of all edges, each time with the whole chain.
OLDER = tuple(each for each in LINK_FEATURES if each not in (INTEREST, CHAIN_HASH))
M = TypeVar("M")

_labels = itertools.count(0x4000_0001)
_names = itertools.count(1)


class Refused(Exception):
    """The node refused what the double asked for."""


class Member:
    """An identity with its files, and how it presents itself."""

    def __init__(
        self, organisation: str, name: str, files: Files, role: Role = Role.EDGE, *, post_quantum: bool = True
    ) -> None:
        self.id = NodeId(REALM, organisation, name)
        self.role = role
        self.files = files
        self.credentials = load_credentials(
            IdentitySettings(certificate=files.certificate, key=files.key, trust=files.trust, crl=files.crl)
        )
        self.post_quantum = post_quantum
        self.context = make_context(self.credentials, post_quantum_required=post_quantum)

    @classmethod
    def new(cls, pki: RealmPki, organisation: str = EVIL, role: Role = Role.EDGE) -> Member:
        """A member that nobody has seen yet, with a good certificate."""
        name = f"evil-{next(_names)}"
        return cls(organisation, name, pki.issue(organisation, name), role)

    @property
    def dotted(self) -> str:
        return self.id.dotted

    @property
    def chain(self) -> tuple[bytes, ...]:
        return tuple(leaf_der(certificate) for certificate in self.credentials.chain)

    def parameters(self, **changes: object) -> HandshakeParameters:
        values: dict[str, object] = {
            "me": self.id,
            "role": self.role,
            "leaf": leaf_der(self.credentials.leaf),
            "suites": tuple(Suite),
            "post_quantum_required": self.post_quantum,
            "lanes": 1,
            "flows": 1,
            "cap": 1 << 20,
            "link_features": OLDER,
            **changes,
        }
        return HandshakeParameters(**values)  # type: ignore[arg-type]

    async def link(
        self, port: int, *, source: str = HOST, hears: asyncio.Event | None = None, **changes: object
    ) -> Linked:
        """Make a link to a node that listens at that port of loopback. With hears nothing is read until then."""
        sock = await connect(port, source, receive_bytes=DEAF_BYTES if hears else 0)
        try:
            established, connection = await handshake_over(
                sock, self.context, self.parameters(**changes), anybody, client=True, deadline_ms=10_000
            )
        except BaseException:
            sock.close()
            raise
        return Linked(self, established, connection, port, hears)

    @asynccontextmanager
    async def linked(
        self, port: int, *, hears: asyncio.Event | None = None, **changes: object
    ) -> AsyncIterator[Linked]:
        """A link with its one lane up, closed at the end of the block."""
        made = await self.link(port, hears=hears, **changes)
        try:
            await made.lane()
            yield made
        finally:
            await made.close()


class Linked:
    """One end of a link: the control connection, and the lanes that this end has opened or taken."""

    def __init__(
        self,
        member: Member,
        established: HandshakeResult,
        connection: ControlConnection,
        port: int = 0,
        hears: asyncio.Event | None = None,
    ) -> None:
        self.member = member
        self.peer = established.peer
        self.port = port
        self.reference = ReferenceLink(
            secret=bytes(established.secret),
            binding=established.binding,
            suite=ReferenceSuite(established.suite),
            link_id=established.link_id,
            lanes=established.lanes,
        )
        self.messages: list[Message] = []
        self.on_message: Callable[[Message], None] | None = None
        self.link_table: list[Neighbour] = []
        self.next_number = 0
        self._connection = connection
        self._changed = asyncio.Condition()
        self._task = asyncio.create_task(self._run(hears))

    @property
    def has_ended(self) -> bool:
        return self._task.done()

    @property
    def neighbour(self) -> Neighbour:
        """The latest lane."""
        return self.link_table[-1]

    def send(self, *messages: Message) -> None:
        for message in messages:
            self._connection.send(message)

    def send_raw(self, data: bytes) -> None:
        """Bytes of any kind inside the TLS connection."""
        self._connection._tls.write(data)
        self._connection._outgoing += self._connection._tls.take()
        self._connection._wake.set()

    async def until(self, holds: Callable[[], M], seconds: float = WAIT_S) -> M:
        """Wait until something holds that only a message, or the end, can bring about."""
        async with asyncio.timeout(seconds), self._changed:
            return await self._changed.wait_for(holds)

    async def ended(self, seconds: float = WAIT_S) -> None:
        """Wait until the node has ended the control connection."""
        await asyncio.wait_for(asyncio.shield(self._task), seconds)

    async def lane(self, number: int | None = None, index: int = 0) -> Neighbour:
        """Open a lane and wait until it is confirmed both ways."""
        neighbour = await self.lane_begun(number, index)
        await neighbour.until_up()
        return neighbour

    async def lane_begun(self, number: int | None = None, index: int = 0) -> Neighbour:
        if number is None:
            number, self.next_number = self.next_number, self.next_number + 1
        neighbour = await dial_lane(self.reference, HOST, self.port, index=index, number=number)
        self.link_table.append(neighbour)
        return neighbour

    async def bare_lane(
        self, number: int | None = None, index: int = 0
    ) -> tuple[Lane, asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection whose preamble is sent and nothing else."""
        if number is None:
            number, self.next_number = self.next_number, self.next_number + 1
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(self.reference.preamble(index, number))
        return self.reference.lane(index, number, True), reader, writer

    async def path(self, destination: NodeId, /, **changes: object) -> tuple[PathOpen, PathAccept]:
        """Ask for a path; raises Refused with the reason if there is none."""
        values: dict[str, object] = {
            "session": os.urandom(16),
            "source": self.member.id.uri,
            "destination": destination.uri,
            "marking": 1,
            "priority": 0,
            "flows": 1,
            "cap": 1 << 20,
            "label": next(_labels),
            "resume": False,
            "via": (),
            **changes,
        }
        asked = PathOpen(**values)  # type: ignore[arg-type]
        seen = len(self.messages)
        self.send(asked)

        def answer() -> Message | None:
            kinds = PathAccept | PathRefuse | PathClose
            mine = [m for m in self.messages[seen:] if isinstance(m, kinds) and m.session == asked.session]
            return mine[0] if mine else None

        found = await self.until(answer)
        if not isinstance(found, PathAccept):
            raise Refused(getattr(found, "reason", "closed"))
        return asked, found

    async def session(self, destination: NodeId, **changes: object) -> FarEdge:
        """A session with an edge, its one flow confirmed on the latest lane."""
        far = await self.session_unstarted(destination, **changes)
        await far.start()
        return far

    async def session_unstarted(self, destination: NodeId, **changes: object) -> FarEdge:
        """A session whose handshake is over and whose flow has said nothing yet."""
        asked, accepted = await self.path(destination, **changes)
        established = await self.carried(asked.session)
        session = ReferenceSession(
            secret=bytes(established.secret),
            binding=established.binding,
            suite=ReferenceSuite(established.suite),
            is_initiator=True,
            label_out=accepted.label,
            label_in=asked.label,
        )
        return FarEdge(session, self.neighbour)

    async def carried(self, session: bytes, member: Member | None = None) -> HandshakeResult:
        """The initiator's side of a session's handshake, as this member or as another."""
        member = member or self.member
        handshake = Handshake(member.context, member.parameters(), client=True, purpose=Purpose.SESSION, judge=anybody)
        taken = len(self.messages)
        outgoing = handshake.start()
        while handshake.established is None:
            if outgoing:
                self.send(Carry(session, outgoing))
            message = await self.until(lambda at=taken: self._next_of(session, at))
            taken = self.messages.index(message, taken) + 1
            if not isinstance(message, Carry):
                raise Refused("path closed")
            outgoing = handshake.receive(message.data)
        return handshake.established

    def _next_of(self, session: bytes, start: int) -> Message | None:
        mine = (m for m in self.messages[start:] if isinstance(m, Carry | PathClose) and m.session == session)
        return next(mine, None)

    def lose_control(self) -> None:
        """End the control connection alone: the lanes stay."""
        self._connection.end("closed by the test")

    async def close(self) -> None:
        for neighbour in self.link_table:
            await neighbour.close()
        self.lose_control()
        with suppress(TimeoutError):
            await self.ended()

    async def _run(self, hears: asyncio.Event | None) -> None:
        try:
            await self._connection.run(self._take, hears)
        finally:
            async with self._changed:
                self._changed.notify_all()

    def _take(self, message: Message) -> None:
        if isinstance(message, Beat):
            if not message.answer:
                self.send(Beat(message.token, True))
            return
        self.messages.append(message)
        if self.on_message is not None:
            self.on_message(message)
        self._told = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def advert(member: Member, *services: str, path: tuple[str, ...] = (), **changes: Any) -> Advert:
    """A member's own catalogue entry, well signed; the changes are to what is signed."""
    now_s = int(time.time())
    values: dict[str, Any] = {
        "sequence": time.time_ns() // 1_000_000,
        "not_after": now_s + 600,
        "key": member.credentials.key,
        "chain": member.chain,
        **changes,
    }
    edge = values.pop("edge", member.id)
    signed = sign_entry(edge, [Offer(service, 1, state=STATE_READY) for service in services], **values)
    return Advert(signed.entry, signed.signature, signed.chain, path)


def anybody(peer: NodeId) -> str | None:
    return None


async def connect(port: int, source: str = HOST, *, receive_bytes: int = 0) -> socket.socket:
    """A connection to a node of this machine, from that address of loopback, with that receive buffer."""
    sock = socket.socket()
    try:
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        sock.bind((source, 0))
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def refusal_of(attempt: object) -> str:
    """The word under which a handshake ended at this side."""
    try:
        await attempt  # type: ignore[misc]
    except HandshakeRefused as refused:
        return refused.reason
    raise AssertionError("it was not refused")
