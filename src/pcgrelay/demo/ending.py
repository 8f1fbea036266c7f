"""Requests to end, as KeyboardInterrupt, raised only where it is safe.

A signal during the start of a process or the creation of a folder would leave it behind. So a request is noted, and
raised where the demonstration waits or can be interrupted at any point.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any, Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ending:
    """Handles the signals while it is entered; signals that the process ignores stay ignored (nohup)."""

    def __init__(self) -> None:
        self._kept: dict[int, Any] = {}
        self._may_come = False
        self._asked = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._kept[number] = signal.signal(number, self._signalled)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._kept.items():
            signal.signal(number, handler)

    @contextmanager
    def may_come(self) -> Iterator[None]:
        """Within this context a request is raised at once, once, even an earlier one; further ones are ignored."""
        self._may_come = True
        try:
            if self._asked:
                self._signalled(0, None)
            yield
        finally:
            self._may_come = False

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if self._may_come:
            self._may_come = False
            raise KeyboardInterrupt
