"""The handshake of a session: the same as that of a link, carried over a path (docs/protocol.md, 9.6)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from OpenSSL import SSL

from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import without_traceback
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake, HandshakeParameters, HandshakeResult, Judge
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.path.edge import EdgePaths, PathEnd


class SessionHandshake:
    """One handshake, driven by CARRY messages.

    `done` is set when it ends: without a value if it succeeded, else with HandshakeRefused or the exception that broke
    it. TLS and all that belongs to it are freed by then.
    """

    def __init__(
        self,
        paths: EdgePaths,
        end: PathEnd,
        context: SSL.Context,
        parameters: HandshakeParameters,
        judge: Judge,
        ready: Callable[[HandshakeResult], None],
    ) -> None:
        """ready: receives the result. It is called before the last bytes are sent, so that no frame can arrive before
        the core has the keys."""
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
        """Send the first bytes. Only the initiator calls this."""
        assert self._handshake is not None
        self._paths.carry(self._end, self._handshake.start())

    def abandon(self) -> None:
        """Free TLS and detach from the path, without a result."""
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
            # An error of the core or of a library ends this session and no other.
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
            self.done.set_exception(without_traceback(error))


def told(error: Exception) -> tuple[str, str]:
    """Return the reason (one word) and the cause (a sentence) of a set-up that failed."""
    if isinstance(error, HandshakeRefused):
        return error.reason, str(error)
    if isinstance(error, TimeoutError):
        return "deadline", "The session was not set up in time."
    if isinstance(error, DataPlaneRefused):
        return "core", str(error)
    # Of an unexpected exception only the type is shown: its text may quote the peer.
    return "failure", f"Setting up the session broke ({type(error).__name__})."
