"""Waits for what another thread or process does and announces nowhere, each with a deadline."""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


STEP_MOST_S = 0.05


def until(true: Callable[[], T], seconds: float = 20.0, what: str = "", step_s: float = 0.01) -> T:
    """Wait until something is so, and answer it; AssertionError after so many seconds.

    What has not come after some looks is looked for less often, for a look is work for whoever is looked at.
    """
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"within {seconds:g} s it never came true: {what or true}"
        time.sleep(step_s)
        step_s = max(step_s, min(1.1 * step_s, STEP_MOST_S))
    return found


async def until_async(true: Callable[[], object], seconds: float = 20.0, what: str = "") -> None:
    """The same beside the tasks of an event loop."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"within {seconds:g} s it never came true: {what or true}"
        await asyncio.sleep(0.01)


def receive(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes, or fewer where the connection ends.

    MSG_WAITALL does not do that on a socket with a time-out, which Python makes non-blocking: recv(2) then answers
    what is there.
    """
    parts = bytearray()
    while len(parts) < size and (data := connection.recv(size - len(parts))):
        parts += data
    return bytes(parts)
