"""What one stream is called in the access log: the same at both of its edges, so that two operators mean the same line.

The id is made of what both edges know: the first four bytes of the session's id (docs/protocol.md, 9.5), the flow that
carries the stream, and its number there. A stream that never had a session (one of a direct outlet, or one that was
refused before) has an id of this edge alone, of two parts instead of three.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from pcgrelay.clock import Clock
from pcgrelay.dataplane.events import StreamEnd
from pcgrelay.log.events import time_text
from pcgrelay.session.session import Session


@dataclass(frozen=True, slots=True)
class StreamIdentity:
    """How the log names one stream."""

    id: str
    started: str  # when it was opened, by this node's clock


class StreamIds:
    """The ids of the streams of one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._own = secrets.token_hex(4)
        self._last = 0

    def identify(self, event: StreamEnd, session: Session | None) -> StreamIdentity:
        """Name a stream that has ended. session: the one that carried it, if it is still known."""
        started = self._clock.wall() - timedelta(microseconds=event.duration_us)
        return StreamIdentity(self._id(event, session), time_text(started))

    def reserve(self, count: int) -> tuple[bytes, int]:
        """Return what ids of so many streams without a session begin with, and the number of the first."""
        first = self._last + 1
        self._last += count
        return f"{self._own}-".encode(), first

    def _id(self, event: StreamEnd, session: Session | None) -> str:
        # A session that a process before handed over without its id is known here by it.
        head = event.id_head or (session.id_head if session is not None else 0)
        if event.stream and head:
            return stream_id(head, event.flow, event.stream)
        self._last += 1
        return f"{self._own}-{self._last}"


def stream_id(id_head: int, flow: int, stream: int) -> str:
    """Return the id of a stream of a session; the core writes the same (base/digits)."""
    return f"{id_head:08x}-{flow}-{stream}"
