"""The record of a hand-over as items with tags, read and written item by item."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

from pcgrelay._core.face import core as native

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
SETUP, ASSOCIATION = 38, 48  # of a stream


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
    (WORKER, SESSION, FLOW, STREAM, ASSOCIATION), (WORKER, SESSION, FLOW, STREAM, SETUP),
    (WORKER, LISTENER), (WORKER, RING), (WORKER, WAITING), (WORKER, WAITING, SETUP), (WORKER, WAITING, ASSOCIATION),
    (WORKER, DIRECT), (WORKER, DIRECT, OPENER_HALF), (WORKER, DIRECT, OPENER_HALF, SETUP),
    (WORKER, DIRECT, OPENER_HALF, ASSOCIATION), (WORKER, DIRECT, TARGET_HALF),
}  # fmt: skip


def changed(data: bytes, place: tuple[int, ...], more: bytes) -> bytes:
    """A container in which the first one at this place has these items, and not what it had of their tags."""
    if not place:
        tags = {tag for _, tag, _ in items(more)}
        return b"".join(item(tag, value) for _, tag, value in items(data) if tag not in tags) + more
    made, sought = b"", True
    for _, tag, value in items(data):
        hit = sought and tag == place[0]
        sought = sought and not hit
        made += item(tag, changed(value, place[1:], more) if hit else value)
    assert not sought, place
    return made


def figures(data: bytes, at: tuple[int, ...] = ()) -> dict[tuple[int, ...], bytes]:
    """What is neither zero nor a container, by its place, however wide; of several at one place the last."""
    found: dict[tuple[int, ...], bytes] = {}
    for _, tag, value in items(data):
        if at in CONTAINERS and (*at, tag) in CONTAINERS:
            found |= figures(value, (*at, tag))
        elif any(value):
            found[*at, tag] = value.rstrip(b"\0")
    return found


def read(record: bytes, descriptors: int, workers: int = 1, role: int = native.ROLE_EDGE) -> native.Core:
    """A core that has read this; the descriptors are some sockets."""
    core = native.Core(workers=workers, memory_bytes=64 << 20, role=role)
    ends = [socket.socketpair() for _ in range(descriptors)]
    fds = [near.detach() for near, _ in ends]
    try:
        core.handover_read(bytearray(record), fds)
    finally:
        # The core keeps numbers of descriptors that are closed; nothing is done with them.
        for fd in fds:
            os.close(fd)
        for _, far in ends:
            far.close()
    return core


def is_refused(record: bytes, descriptors: int, workers: int = 1, role: int = native.ROLE_EDGE) -> bool:
    core = native.Core(workers=workers, memory_bytes=64 << 20, role=role)
    ends = [socket.socketpair() for _ in range(descriptors)]
    try:
        core.handover_read(bytearray(record), [near.fileno() for near, _ in ends])
    except native.CoreError:
        return True
    else:
        return False
    finally:
        core.abandon()
        for pair in ends:
            for end in pair:
                end.close()
