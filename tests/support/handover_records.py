"""The record of a hand-over as items with tags, read and written item by item."""

from __future__ import annotations

import struct
from collections.abc import Iterator

HEAD = 8


def items(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Place, tag and value of each item of a container."""
    at = 0
    while at < len(data):
        tag, length = struct.unpack_from("<HI", data, at)
        yield at, tag, data[at + 6 : at + 6 + length]
        at += 6 + length


WORKER, LISTENER = 5, 32
LINK, PATH, LANE, SESSION, WAITING, DIRECT, RING = 10, 11, 12, 13, 14, 16, 19
FLOW, RETAINED, STREAM = 11, 34, 35
OPENER_HALF, TARGET_HALF = 1, 2  # of a direct stream
SETUP = 38  # of a stream


def item(tag: int, value: bytes) -> bytes:
    return struct.pack("<HI", tag, len(value)) + value


def word(value: int) -> bytes:
    return struct.pack("<I", value)


def first(data: bytes, *place: int) -> bytes:
    for wanted in place:
        data = next(value for _, tag, value in items(data) if tag == wanted)
    return data


CONTAINERS = {
    (), (3,), (4,), (WORKER,), (WORKER, LINK), (WORKER, LANE), (WORKER, LANE, 7), (WORKER, LANE, 8), (WORKER, SESSION),
    (WORKER, SESSION, FLOW), (WORKER, SESSION, FLOW, 2), (WORKER, SESSION, FLOW, 3), (WORKER, SESSION, FLOW, STREAM),
    (WORKER, LISTENER), (WORKER, RING), (WORKER, WAITING), (WORKER, WAITING, SETUP), (WORKER, DIRECT),
    (WORKER, DIRECT, OPENER_HALF),
    (WORKER, DIRECT, OPENER_HALF, SETUP), (WORKER, DIRECT, TARGET_HALF),
}  # fmt: skip
