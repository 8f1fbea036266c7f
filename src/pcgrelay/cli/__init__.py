"""The command line: reads options, calls one function, and prints facts for people or for programs.

Each command is in a module of its own that is loaded when the command is called: `pcgrelay status` must not wait for
OpenSSL. This file imports nothing slow, because signals may arrive at any time and their handling is set up first.
"""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Sequence

from pcgrelay import core_dumps
from pcgrelay.cli.streams import forget_unwritten, replace_closed

# Commands during which a signal for a node may already arrive: the node itself, and the one that starts its successor.
_NODES = ("run", "upgrade")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its exit code."""
    if next(iter(sys.argv[1:] if arguments is None else arguments), "") in _NODES:
        _hold_signals()
        _load_lightly()
    replace_closed()
    core_dumps.switch_off()
    # Until a handler is installed, Ctrl-C ends this process silently, as it ends any other, without a traceback.
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        importlib.import_module("pcgrelay.cli.invocation")
        signal.signal(signal.SIGINT, interrupt)
    code = invoke(arguments)
    forget_unwritten()
    sys.exit(code)


def invoke(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; every failure ends with one sentence on standard error."""
    answer: int = importlib.import_module("pcgrelay.cli.invocation").invoke(arguments)
    return answer


def _hold_signals() -> None:
    """Keep a signal that requests something of a node from ending it during the start, which is the system's default.

    A reload that is requested too early waits until the node is ready. Child processes inherit both settings.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _load_lightly() -> None:
    """Have what a node needs load without work that comes to nothing, which is a sixth of its start.

    The HTTP library reads all authorities that the machine trusts when it is imported, for requests that no node makes:
    a node trusts those of its realm alone. And while modules are loaded there is no garbage to look for; `daemon.run`
    switches that on again.
    """
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull
    gc.disable()
