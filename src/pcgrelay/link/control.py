"""The control connection of a link: a handshake over a socket, then messages in both directions until it ends.

The socket belongs to this module and not to an asyncio transport, so that closing it is one call and nothing of it
outlives the loop. Every wait has a deadline: the handshake as a whole, each write, and silence, which `link` watches by
BEAT.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress

from OpenSSL import SSL

from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake, HandshakeParameters, HandshakeResult, Judge, Renewable
from pcgrelay.identity.renewal import Renewal
from pcgrelay.identity.tls import READ_BYTES, HandshakeRefused, TlsDriver
from pcgrelay.messages import Code, Goodbye, Message, MessageReader, MessageRefused, encode_message
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.net.sockets import backs_off, reset

BACKLOG_LIMIT_BYTES = 8 << 20  # a neighbour that leaves more unread does not read at all: the connection ends
# Below this backlog, messages that can wait (catalogue entries) may be queued. It drains in 2 s at 2 Mbit/s at most.
ROOM_BYTES = 262_144
# Each slice has a deadline of its own, so that a slow connection is not mistaken for a stalled one.
SLICE_BYTES = 65_536
WRITE_DEADLINE_S = 10.0
RETIRE_DEADLINE_S = 30.0
FAREWELL_DEADLINE_S = 1.0
# Limits of reading from a neighbour, whatever its messages are: the catalogue of a large realm at once, then changes.
# Reading a byte takes at most 12 ns, so that a neighbour can use at most a twentieth of a processor.
READ_AT_ONCE_BYTES = 16 << 20
READ_EACH_SECOND_BYTES = 4 << 20
MESSAGE_TOO_LONG = "message_too_long"


class ControlConnection:
    """An established control connection. `send` never waits; `run` does all reading and writing."""

    def __init__(self, sock: socket.socket, tls: TlsDriver, reader: MessageReader, pending: bytes) -> None:
        self._sock = sock
        self._tls = tls
        self._reader = reader
        self._outgoing = bytearray(pending)
        self._wake = asyncio.Event()
        self._ended: str | None = None
        self._retiring = False
        self.unsendable_total = 0  # messages that were dropped because they are longer than the protocol allows
        self.on_room: Callable[[], None] = lambda: None  # called whenever ROOM_BYTES or less are left to be sent
        self._resets = False
        if pending:
            self._wake.set()

    @property
    def unknown_total(self) -> int:
        """Messages received of kinds that this version does not know."""
        return self._reader.unknown_total

    def on_unknown(self, heard: Callable[[], None]) -> None:
        """Set the function to call for each message of an unknown kind."""
        self._reader.on_unknown = heard

    @property
    def backlog_bytes(self) -> int:
        """Bytes that are queued and not yet given to the kernel."""
        return len(self._outgoing)

    def has_ended(self) -> bool:
        """Whether nothing will be sent or received any more."""
        return self._ended is not None

    @property
    def ends(self) -> tuple[str, str] | None:
        """The numeric addresses of this side and of the peer; None: the connection has ended."""
        if self.has_ended():
            return None
        try:
            return str(self._sock.getsockname()[0]), str(self._sock.getpeername()[0])
        except OSError:
            return None

    @property
    def is_stuck(self) -> bool:
        """Whether TCP backs off, so that nothing sent now arrives soon."""
        return not self.has_ended() and backs_off(self._sock)

    def send(self, message: Message) -> None:
        """Queue a message. On a connection that has ended it is dropped; the link learns of the end from `run`.

        It never raises, because the caller may be handling a message of another neighbour, whose link must not end for
        an error here. A message that is too long for the protocol is dropped and counted.
        """
        if self.has_ended():
            return
        try:
            self._tls.write(encode_message(message))
            self._outgoing += self._tls.take()
        except MessageRefused:
            self.unsendable_total += 1
            return
        except HandshakeRefused:
            self.end("closed")
            return
        if len(self._outgoing) > BACKLOG_LIMIT_BYTES:
            self.end("backlog")
        self._wake.set()

    def end(self, reason: str) -> None:
        """Let `run` return; the first reason stands."""
        if self._ended is None:
            self._ended = reason
        self._wake.set()

    def break_off(self, reason: str) -> None:
        """End the connection by a TCP reset, without a GOODBYE: the peer notices it although no data gets through."""
        self._resets = True
        self.end(reason)

    def retire(self) -> None:
        """Let `run` return once all that is queued has been sent; no further message is read."""
        self._retiring = True
        self._wake.set()

    def abandon(self) -> None:
        """Close a connection whose `run` was never started."""
        self._sock.close()

    async def run(self, take: Callable[[Message], None], opened: asyncio.Event | None = None) -> str:
        """Read and write until the connection ends, and return the reason in one word. The socket is closed then.

        take: called with each message; what it raises is raised here. opened: if given, nothing is read before it is
        set.
        """
        reading = asyncio.create_task(self._read(take, opened))
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.wait({reading, writing}, return_when=asyncio.FIRST_COMPLETED)
            if self._retiring:
                await asyncio.wait({writing}, timeout=RETIRE_DEADLINE_S)
        finally:
            reading.cancel()
            writing.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            if self._resets:
                reset(self._sock)
            else:
                await self._say_farewell()
                self._sock.close()
        for task in (reading, writing):
            # An unexpected exception must not vanish with its task.
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return self._ended or "closed"

    async def _read(self, take: Callable[[Message], None], opened: asyncio.Event | None) -> None:
        if opened is not None:
            await opened.wait()
        bucket = TokenBucket(READ_AT_ONCE_BYTES, READ_EACH_SECOND_BYTES, _now_ms())
        while not self.has_ended():
            # An exception while a message is handled is not the peer's fault: only reading is judged here.
            for message in self._messages():
                take(message)
                if self.has_ended() or self._retiring:
                    return
            if not self.has_ended():
                await self._receive(bucket)

    def _messages(self) -> Iterator[Message]:
        """Decode what was received into messages; a violation ends the connection."""
        try:
            for message, _ in self._reader.feed(self._tls.read()):
                yield message
        except MessageRefused as refused:
            if refused.code == Code.LIMIT:
                self.send(Goodbye(refused.code, ""))
            self.end(MESSAGE_TOO_LONG if refused.code == Code.LIMIT else "violation")
        except HandshakeRefused as refused:
            self.end("closed" if refused.reason == "closed" else "violation")

    async def _receive(self, bucket: TokenBucket) -> None:
        """Wait for bytes of the peer; the end of its stream ends the connection."""
        try:
            data = await asyncio.get_running_loop().sock_recv(self._sock, READ_BYTES)
        except OSError:
            data = b""
        if not data:
            self.end("closed")
            return
        if wait_ms := bucket.owe(len(data), _now_ms()):
            await asyncio.sleep(wait_ms / 1000)
        self._tls.feed(data)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while not self.has_ended():
                await self._wake.wait()
                self._wake.clear()
                while self._outgoing and not self.has_ended():
                    data = bytes(self._outgoing[:SLICE_BYTES])
                    del self._outgoing[:SLICE_BYTES]
                    async with asyncio.timeout(WRITE_DEADLINE_S):
                        await loop.sock_sendall(self._sock, data)
                    if len(self._outgoing) <= ROOM_BYTES:
                        self.on_room()
                if self._retiring:
                    self.end("retired")
        except TimeoutError:
            self.end("stalled")
        except OSError:
            self.end("closed")

    async def _say_farewell(self) -> None:
        """Send what was queued last (GOODBYE), if the peer reads it within FAREWELL_DEADLINE_S."""
        if not self._outgoing or self._ended in ("stalled", "backlog", "closed"):
            return
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_DEADLINE_S):
                await asyncio.get_running_loop().sock_sendall(self._sock, bytes(self._outgoing))


def _now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


class LostConnection(ControlConnection):
    """The control connection of a link that was restored from a hand-over: it ended with the previous process."""

    def __init__(self) -> None:
        self._ended = "handed_over"
        self.unsendable_total = 0
        self._outgoing = bytearray()

    @property
    def unknown_total(self) -> int:
        return 0

    @property
    def is_stuck(self) -> bool:
        """It has ended."""
        return False

    def end(self, reason: str) -> None:
        """It has ended."""

    def break_off(self, reason: str) -> None:
        """It has ended."""

    def retire(self) -> None:
        """It has ended."""

    def abandon(self) -> None:
        """It has ended."""


async def handshake_over(
    sock: socket.socket,
    context: SSL.Context,
    parameters: HandshakeParameters,
    judge: Judge,
    *,
    client: bool,
    deadline_ms: int,
    first: bytes = b"",
    renewal: Renewal | None = None,
    renewable: Renewable | None = None,
) -> tuple[HandshakeResult, ControlConnection]:
    """Make a link, or renew one, by a handshake over a connected socket.

    first: the bytes that were read from the socket already. renewal: what a client renews. renewable: finds, for a
    server, what the client wants to renew. The last bytes of a server wait in the connection and are sent by its `run`,
    so that the link is known before the client may use it.

    Raises HandshakeRefused; the caller closes the socket then.
    """
    try:
        async with asyncio.timeout(deadline_ms / 1000):
            handshake = Handshake(
                context,
                parameters,
                client=client,
                purpose=Purpose.LINK_RENEWAL if renewal else Purpose.LINK,
                judge=judge,
                renewal=renewal,
                renewable=renewable,
            )
            return await _driven(sock, handshake, first)
    except TimeoutError:
        raise HandshakeRefused("deadline", "The handshake was not finished in time.") from None
    except OSError:
        raise HandshakeRefused("closed", "The peer broke the connection off.") from None
    except HandshakeRefused as refused:
        await _farewell_sent(sock, refused.farewell)
        raise


async def _driven(sock: socket.socket, handshake: Handshake, first: bytes) -> tuple[HandshakeResult, ControlConnection]:
    loop = asyncio.get_running_loop()
    outgoing = handshake.receive(first) if first else handshake.start()
    while handshake.established is None:
        if outgoing:
            await loop.sock_sendall(sock, outgoing)
        data = await loop.sock_recv(sock, READ_BYTES)
        if not data:
            raise HandshakeRefused("closed", "The peer closed the connection during the handshake.")
        outgoing = handshake.receive(data)
    return handshake.established, ControlConnection(sock, handshake.tls, handshake.reader, outgoing)


async def _farewell_sent(sock: socket.socket, farewell: bytes) -> None:
    if farewell:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(FAREWELL_DEADLINE_S):
                await asyncio.get_running_loop().sock_sendall(sock, farewell)
