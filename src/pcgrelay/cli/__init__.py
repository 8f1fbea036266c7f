"""The command line: a thin layer that reads options, calls one function, and prints facts for people or for programs.

Each command lives in a module of its own, loaded when it is called: `pcgrelay status` must not wait for OpenSSL. This
file loads nothing that takes time, for signals come when they like: what they are to do is settled first.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Sequence

from pcgrelay.cli.streams import forget_unwritten, replace_closed

# Commands that a node's signals may already reach: it itself, and the one that starts a process in its place.
_NODES = ("run", "upgrade")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code."""
    if next(iter(sys.argv[1:] if arguments is None else arguments), "") in _NODES:
        _hold_signals()
    replace_closed()
    # Until there is somebody who catches it, Ctrl-C ends this process as it ends any other, without a traceback.
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        importlib.import_module("pcgrelay.cli.invocation")
        signal.signal(signal.SIGINT, interrupt)
    code = invoke(arguments)
    forget_unwritten()
    sys.exit(code)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and answer its exit code. Whatever goes wrong ends in one sentence on standard error."""
    answer: int = importlib.import_module("pcgrelay.cli.invocation").invoke(arguments)
    return answer


def _hold_signals() -> None:
    """See that a signal that asks a node for something does not end it while it starts, as the system would have it.

    A reload that is asked for too early waits until the node is ready. A program that this one starts inherits both.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
