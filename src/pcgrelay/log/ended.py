"""Streams that ended alike and are on record together: one record, and what differs between them."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from pcgrelay.log.stream_events import StreamEnd

# Lines without their number: of the pieces that are alike, when the streams ended in microseconds since 1970.
Bodies = Callable[[tuple[bytes, ...], int], list[bytes]]


class EndedAlike(Struct, frozen=True):
    """The streams that one turn of the event loop heard of, by one import or export, session and outlet."""

    record: StreamEnd  # of each, but for its id, times and numbers
    count: int
    sent_bytes: int  # by all of them
    received_bytes: int
    bodies: Bodies
    # Of associations:
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: dict[str, int] = field(default_factory=dict)  # by cause
