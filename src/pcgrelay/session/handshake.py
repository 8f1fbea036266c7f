"""A session's handshake: the same one as a link's, its bytes carried over a path (docs/protocol.md, 9.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from OpenSSL import SSL

from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake, HandshakeParameters, HandshakeResult, Judge
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.path.edge import EdgePaths, PathEnd


class SessionHandshake:
    """Runs as CARRY messages come in. `done` tells the end; TLS and all that belongs to it are gone by then."""

    def __init__(
        self,
        paths: EdgePaths,
        end: PathEnd,
        context: SSL.Context,
        parameters: HandshakeParameters,
        judge: Judge,
        ready: Callable[[HandshakeResult], None],
    ) -> None:
        """ready takes the secret before the last bytes leave, so that no frame can come too early for it."""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._paths = paths
        self._end = end
        self._ready = ready
        self._handshake: Handshake | None = Handshake(
            context, parameters, client=end.initiator, purpose=Purpose.SESSION, judge=judge
        )
        end.on_carry = self._take
        end.on_closed = self._path_closed

    def start(self) -> None:
        """Send the first bytes, if this is the side that begins."""
        assert self._handshake is not None
        self._paths.carry(self._end, self._handshake.start())

    def abandon(self) -> None:
        """Free TLS without an end."""
        self._handshake = None
        self._end.on_carry = None
        self._end.on_closed = None

    def _take(self, data: bytes) -> None:
        handshake = self._handshake
        if handshake is None or self.done.done():
            return
        try:
            outgoing = handshake.receive(data)
            if handshake.established is not None:
                self.abandon()
                self._ready(handshake.established)
        except HandshakeRefused as refused:
            self._paths.carry(self._end, refused.farewell)
            self._fail(refused)
            return
        except Exception as error:
            # Whatever the core or a library does not like about this session is this session's end and nobody else's.
            self._fail(error)
            return
        self._paths.carry(self._end, outgoing)
        if handshake.established is not None:
            self.done.set_result(None)

    def _path_closed(self, code: int) -> None:
        self._fail(HandshakeRefused("path_lost", "The path was lost during the handshake."))

    def _fail(self, error: Exception) -> None:
        self.abandon()
        if not self.done.done():
            self.done.set_exception(error)


def told(error: Exception) -> tuple[str, str]:
    """The word and the sentence for a set-up that failed."""
    if isinstance(error, HandshakeRefused):
        return error.reason, str(error)
    if isinstance(error, TimeoutError):
        return "deadline", "The session was not set up in time."
    if isinstance(error, DataPlaneRefused):
        return "core", str(error)
    # Of what nobody expects the kind alone, for its text may quote the peer.
    return "failure", f"Setting up the session broke ({type(error).__name__})."
