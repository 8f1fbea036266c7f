"""The standard streams of a command, wherever they lead: a full disk, a reader that went, nowhere at all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def replace_closed() -> None:
    """Give a standard stream that was closed before the start to the null device.

    Otherwise the next file or socket gets its number, and what is meant for a person goes there.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=True)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def forget_unwritten() -> None:
    """Keep the interpreter from writing at its exit what could not be written: its code 120 would replace ours."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
