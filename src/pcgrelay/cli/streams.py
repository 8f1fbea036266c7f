"""The standard streams of a command, whatever they are connected to: a full disk, a closed reader, nothing."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def replace_closed() -> None:
    """Connect a standard stream that was closed before the start to the null device.

    Otherwise the next file or socket gets its descriptor, and output for the user is written there.
    """
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number, inheritable=True)
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def forget_unwritten() -> None:
    """Keep the interpreter from flushing at exit what could not be written: its exit code 120 would replace ours."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), stream.fileno())
