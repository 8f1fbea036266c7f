"""A process that gives secrets to a data plane of its own, so that another can search its memory for them.

    python -m pcgrelay.dataplane.wiping CONFIG COUNT

It reads COUNT secrets of 32 bytes and one marker from standard input, gives each secret to the core as that of a link,
keeps the marker, writes a line when that is done, and ends at the end of its input. No file, socket or port of the
configuration is used: it says how the core is made.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from msgspec import structs

from pcgrelay import config
from pcgrelay.dataplane.adapter import Plane, native_core

SECRET_BYTES = 32
MEMORY_BYTES = 64 << 20
SETTLE_S = 0.3  # in which workers take their orders
READY = b"ready\n"


async def keep(path: Path, count: int) -> None:
    """Do it. The marker stays in this frame for as long as it runs."""
    settings = config.load(path)
    node = structs.replace(settings.node, workers=1, memory_bytes=MEMORY_BYTES)
    plane = Plane(native_core(), structs.replace(settings, node=node))
    plane.start({}, lambda error: None)
    try:
        for link in range(1, count + 1):
            # Nothing but this buffer ever holds it, and the core wipes it.
            secret = _read()
            plane.link_add(link, secret=secret, binding=bytes(32), suite=1, dialler=True, lanes=1, link_id=bytes(16))
        marker = _read()
        await asyncio.sleep(SETTLE_S)
        os.write(sys.stdout.fileno(), READY)
        await asyncio.to_thread(os.read, sys.stdin.fileno(), 1)
        del marker
    finally:
        plane.stop()


def _read() -> bytearray:
    """Read 32 bytes straight into a buffer."""
    buffer = bytearray(SECRET_BYTES)
    view, done = memoryview(buffer), 0
    while done < SECRET_BYTES:
        count = os.readv(sys.stdin.fileno(), [view[done:]])
        if not count:
            raise EOFError("the input ended too early")
        done += count
    return buffer


if __name__ == "__main__":
    asyncio.run(keep(Path(sys.argv[1]), int(sys.argv[2])))
