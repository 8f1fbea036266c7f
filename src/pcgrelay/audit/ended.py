"""Records of streams that ended alike: encoded once, and the numbers that differ put in by the core.

A busy edge ends thousands of streams a second. To make, queue and encode a record of each by itself took a fifth of its
processor; so the control plane handles them once for each turn of its loop, and the thread that writes has their lines
made in one call.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from pcgrelay.audit.lines import BODY_MOST_BYTES, Queued, body_of
from pcgrelay.log.ended import EndedAlike
from pcgrelay.log.stream_events import StreamEnd

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The numbers, times and id of one of them, and how many of its datagrams were dropped for each cause.
NUMBERS_MOST_BYTES = 1_024


class QueuedEnded(Struct, frozen=True, gc=False):
    """Streams that ended alike, and wait to be written."""

    ended: EndedAlike
    moment: datetime  # in UTC
    policy: str  # as of a `Queued`

    def bodies(self) -> list[bytes]:
        """Encode a line of each but its number, as `lines.body_of` does."""
        wall_us = (self.moment - EPOCH) // timedelta(microseconds=1)
        return self.ended.bodies(parts_of(self.ended.record, self.policy), max(wall_us, 0))


def parts_of(record: StreamEnd, policy: str) -> tuple[bytes, ...]:
    """Return what stands between the numbers of such lines, in the order of `face/end_bodies.pyi`.

    No text of a record can look like the names that are looked for: in JSON its quotation marks have a backslash.
    """
    outlet = {"setup_ms": 0.0} if record.outlet else {}
    datagrams = {"protocol": "tcp", "sent_datagrams": 0, "received_datagrams": 0, "dropped": {}}
    zero = replace(record, id="", started="", sent_bytes=0, received_bytes=0, duration_ms=0.0, **outlet, **datagrams)
    body = body_of(Queued(zero, EPOCH, policy), BODY_MOST_BYTES - NUMBERS_MOST_BYTES)
    time, _, rest = body.partition(b'","event":')
    head, _, rest = rest.partition(b'"id":"')
    _, _, rest = rest.partition(b'","started":"')
    names, _, rest = rest.partition(b'"sent_bytes":0,"received_bytes":0,"duration_ms":0.0')
    rest, _, outlet_text = rest.removesuffix(b"}").partition(b',"outlet":')
    return (
        time[: len(b'"ts":"')],
        b'","event":' + head + b'"id":"',
        b'","started":"',
        names + b'"sent_bytes":',
        b',"received_bytes":',
        b',"duration_ms":',
        rest,
        b',"outlet":' + outlet_text.removesuffix(b"0.0") if outlet_text else b"",
    )
