"""Listeners: control connections and lanes share a TCP port and differ in the first byte (docs/protocol.md, 2.1, 4.1).

An error before the peer has proved its identity leads to a close without an answer, a count by reason, and a log line
that is rate-limited.
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
from collections.abc import Callable
from contextlib import suppress

from pcgrelay.clock import Clock
from pcgrelay.config import ListenSettings
from pcgrelay.dataplane.api import DataPlaneRefused, LinkPlane
from pcgrelay.identity.certificates import Shown
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.control import handshake_over
from pcgrelay.link.table import LinkTable
from pcgrelay.log.events import AcceptPaused, Emit, Failure
from pcgrelay.log.events import HandshakeRefused as HandshakeRefusedRecord
from pcgrelay.log.throttle import Throttle
from pcgrelay.model import NodeId
from pcgrelay.net.descriptors import is_for_members, is_for_strangers
from pcgrelay.net.halfopen import Beginnings, HalfOpen, Place, source_of
from pcgrelay.net.sockets import tune_socket
from pcgrelay.policy.rules import link_refusal

TLS_FIRST = 0x16
LANE_FIRST = 0x50
ADMISSION_FIRST = 0x41  # reserved for an admission tag
PREAMBLE_BYTES = 48
LINK_ID = slice(16, 32)
# For the whole first flight: a round trip, and one more if a packet is lost.
FIRST_DEADLINE_S = 3.0
TLS_HEAD_BYTES = 5
TLS_RECORD_MOST_BYTES = 16_384 + 256
ACCEPT_PAUSE_S = 0.2
LINE_INTERVAL_MS = 1_000
CHECK_INTERVAL_MS = 60_000  # between log lines about connections that only check whether the port is open
TOO_MANY = "Too many connections have not yet proved who they are."
GIVEN_UP = "half_open_given_up"
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


class Untried(HandshakeRefused):
    """The connection was closed before its first byte, as the health check of a load balancer does all day long."""


class Strangers:
    """The limits on unauthenticated connections, which all listeners of a node share."""

    def __init__(self, local: LocalIdentity, clock: Clock) -> None:
        policy, chance = local.config.policy, random.SystemRandom().random
        self._local = local
        self.waiting = HalfOpen(policy.half_open_total, policy.half_open_per_source, chance)  # first flight awaited
        self.running = HalfOpen(policy.half_open_total, policy.half_open_per_source, chance)  # handshake running
        self.beginnings = Beginnings(clock.monotonic_ms())

    @property
    def total(self) -> int:
        """Connections that have not proved their identity."""
        return self.waiting.total + self.running.total

    def come(self, source: str, give_up: Callable[[], None]) -> Place | str:
        """Return a place for a new connection, or the reason for which there is none, by the present configuration."""
        policy = self._local.config.policy
        for door in (self.waiting, self.running):
            door.bound(policy.half_open_total, policy.half_open_per_source)
        return self.waiting.enter(source, give_up, known=self.beginnings.is_known(source))


class Listener:
    """A listener: one [[listen]] of the configuration."""

    def __init__(
        self,
        sock: socket.socket,
        settings: ListenSettings,
        *,
        local: LocalIdentity,
        link_table: LinkTable,
        plane: LinkPlane,
        strangers: Strangers,
        emit: Emit,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.sock = sock
        self._local = local
        self._neighbours = link_table
        self._plane = plane
        self._strangers = strangers
        self._emit = emit
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._throttle = Throttle(LINE_INTERVAL_MS)
        self._checks = Throttle(CHECK_INTERVAL_MS)

    async def run(self) -> None:
        """Accept until cancelled; then close the listener and all connections that are not authenticated."""
        try:
            while True:
                await self._accept_one()
        finally:
            self.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Close the socket; may be called twice."""
        # A process that was given a copy of the socket for a hand-over that failed may still have it open.
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    async def _accept_one(self) -> None:
        try:
            sock, where = await asyncio.get_running_loop().sock_accept(self.sock)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                # The connection stays in the kernel's queue: trying again at once would only spin.
                self._exhausted(errno.errorcode[error.errno].lower())
                await asyncio.sleep(ACCEPT_PAUSE_S)
            return
        source = source_of(str(where[0])) if where else ""
        is_known = self._strangers.beginnings.is_known(source)
        if not (is_for_members if is_known else is_for_strangers)(sock.fileno()):
            # The next one in the queue may be a neighbour, so there is no pause.
            self._exhausted("reserve")
            sock.close()
            return
        task: asyncio.Task[None] | None = None

        def give_up() -> None:
            self._refused(GIVEN_UP, "Its place went to another, for its source had most.", source)
            if task is not None:
                task.cancel()

        place = self._strangers.come(source, give_up)
        if isinstance(place, str):
            sock.close()
            self._refused(place, TOO_MANY, source)
            return
        task = asyncio.create_task(self._stranger(sock, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _exhausted(self, reason: str) -> None:
        self._neighbours.refuse_count("out_of_descriptors")
        if self._throttle.admit("paused", self._clock.monotonic_ms()) is not None:
            self._emit(AcceptPaused(bearer=self.settings.bearer, reason=reason))

    async def _stranger(self, sock: socket.socket, place: Place) -> None:
        source = place.source
        kept = False
        try:
            tune_socket(sock)
            kept = await self._admitted(sock, place)
        except Untried as untried:
            self._refused(untried.reason, str(untried), source, untried=True)
        except HandshakeRefused as refused:
            self._refused(refused.reason, str(refused), source, refused.shown)
        except (OSError, TimeoutError):
            self._refused("silent", "The connection ended or said nothing before it proved who it is.", source)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._emit(Failure(where="listener", error=type(error).__name__))
        finally:
            self._strangers.waiting.leave(place)
            if not kept:
                sock.close()

    async def _admitted(self, sock: socket.socket, place: Place) -> bool:
        """Read the first flight and hand the socket to a link or lane; whether it has a new owner.

        Raises HandshakeRefused, OSError or TimeoutError.
        """
        deadline = asyncio.timeout(FIRST_DEADLINE_S)
        first = b""
        try:
            async with deadline:
                first = await self._first_byte(sock)
                if first[0] == TLS_FIRST:
                    first = await self._flight(sock, first)
                elif first[0] == LANE_FIRST:
                    await self._lane(sock, first)
                    return False  # its descriptor is detached
        except TimeoutError:
            if first[:1] == bytes([TLS_FIRST]):
                raise HandshakeRefused("deadline", "The first flight was not whole in time.") from None
            raise
        if first[0] == TLS_FIRST:
            self._strangers.waiting.leave(place)
            await self._control(sock, first, place)
            return True
        word = "admission_unsupported" if first[0] == ADMISSION_FIRST else "unknown_first_byte"
        raise HandshakeRefused(word, "The connection began with a byte that means nothing here.")

    async def _first_byte(self, sock: socket.socket) -> bytes:
        try:
            first = await asyncio.get_running_loop().sock_recv(sock, 1)
        except ConnectionError:
            first = b""
        if not first:
            raise Untried("silent", "The connection was closed before it said anything.")
        return first

    async def _flight(self, sock: socket.socket, first: bytes) -> bytes:
        """Read the first TLS record whole: until then a connection costs no handshake."""
        flight = bytearray(first)
        wanted = TLS_HEAD_BYTES
        while len(flight) < wanted:
            data = await asyncio.get_running_loop().sock_recv(sock, wanted - len(flight))
            if not data:
                raise HandshakeRefused("closed", "The connection ended within its first flight.")
            flight += data
            if len(flight) == TLS_HEAD_BYTES:
                # TLS refuses a length that is too great for a record.
                length = int.from_bytes(flight[3:])
                wanted += length if length <= TLS_RECORD_MOST_BYTES else 0
        return bytes(flight)

    async def _control(self, sock: socket.socket, first: bytes, place: Place) -> None:
        """Run the handshake of a control connection, within the limits on running handshakes."""
        strangers, source, now_ms = self._strangers, place.source, self._clock.monotonic_ms()
        if word := strangers.beginnings.refusal(source, now_ms):
            raise HandshakeRefused(word, "Strangers have begun as many handshakes as they may.")
        running = strangers.running.enter(source, place.give_up, known=strangers.beginnings.is_known(source))
        if isinstance(running, str):
            raise HandshakeRefused(running, TOO_MANY)
        try:
            await self._handshake(sock, first)
        finally:
            strangers.running.leave(running)
        strangers.beginnings.was_member(source, self._clock.monotonic_ms())

    async def _handshake(self, sock: socket.socket, first: bytes) -> None:
        policy = self._local.config.policy

        def judge(peer: NodeId) -> str | None:
            return link_refusal(policy, peer, None)

        established, connection = await handshake_over(
            sock,
            self._local.context,
            self._local.link_parameters(),
            judge,
            client=False,
            deadline_ms=policy.handshake_deadline_ms,
            first=first,
            renewable=self._neighbours.renewer.renewable,
        )
        if established.generation:
            self._neighbours.renewer.renewed_by_peer(established, connection)
        else:
            self._neighbours.add(established, connection, self.settings)

    async def _lane(self, sock: socket.socket, first: bytes) -> None:
        preamble = bytearray(first)
        while len(preamble) < PREAMBLE_BYTES:
            # Never read further: the bytes that follow belong to the core.
            data = await asyncio.get_running_loop().sock_recv(sock, PREAMBLE_BYTES - len(preamble))
            if not data:
                raise HandshakeRefused("preamble_short", "The lane ended within its preamble.")
            preamble += data
        link = self._neighbours.by_id(bytes(preamble[LINK_ID]))
        if link is None or link.dialled:
            raise HandshakeRefused("lane_unknown_link", "The lane belongs to no link that is known here.")
        try:
            index, number = self._plane.lane_check(link.number, bytes(preamble))
        except DataPlaneRefused as refused:
            raise HandshakeRefused("lane_refused", f"The lane's preamble was refused: {refused}.") from None
        with suppress(DataPlaneRefused):
            # The core owns the descriptor from here on, whatever happens.
            self._plane.lane_add(link.number, index, number, sock.detach())

    def _refused(
        self, reason: str, cause: str, source: str, shown: Shown | None = None, *, untried: bool = False
    ) -> None:
        self._neighbours.refuse_count(reason)
        throttle = self._checks if untried else self._throttle
        suppressed = throttle.admit(reason, self._clock.monotonic_ms())
        if suppressed is not None:
            self._emit(
                HandshakeRefusedRecord(
                    purpose="link",
                    reason=reason,
                    cause=cause,
                    bearer=self.settings.bearer,
                    source=source,
                    suppressed=suppressed,
                    claims=shown.name if shown else "",
                    serial=shown.serial if shown else "",
                    not_after=shown.not_after.isoformat() if shown else "",
                    untried=untried,
                )
            )
