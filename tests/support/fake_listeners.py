"""The listening sockets of the fake core: they are kept, and closed."""

from __future__ import annotations

import os
from collections.abc import Sequence


class Listeners:
    """Sockets of imports. Nothing is ever accepted or read."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.listeners: dict[int, list[int]] = {}
        self.listener_calls: list[tuple[str, int]] = []
        self.listener_numbers: dict[int, list[int]] = {}  # of the counts of an import's listeners
        self.datagram_workers: list[int] = []  # those that were given a socket of datagrams

    def import_listen(self, number: int, fds: Sequence[int], listener: int = 0) -> None:
        assert len(fds) == self.workers
        self.listener_numbers.setdefault(number, []).append(listener)
        self.listener_calls.append(("listen", number))
        self.listeners.setdefault(number, []).extend(fds)

    def listen_datagrams(self, worker: int, number: int, fd: int, listener: int) -> None:
        assert worker < self.workers
        self.datagram_workers.append(worker)
        self.listener_calls.append(("listen", number))
        self.listeners.setdefault(number, []).append(fd)

    def import_unlisten(self, number: int) -> None:
        self.listener_calls.append(("unlisten", number))
        self.listener_numbers.pop(number, None)
        for fd in self.listeners.pop(number):
            os.close(fd)
