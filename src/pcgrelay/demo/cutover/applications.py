"""The applications of the demonstration: one that connects all the time, and some that keep their connection.

They know nothing of outlets: they connect to their own edge, ask, and look whether the answer is that to their
question. Which network it came over says the database. All run in one loop; the demonstration reads what they saw.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import deque
from collections.abc import Sequence

from msgspec import Struct

from pcgrelay.demo.cutover.database import network_of
from pcgrelay.files import reason_of

Address = tuple[str, int]

DEADLINE_S = 15.0  # of a connection, from its beginning to its answer
WAITING_MOST = 500  # connections at the same time; what is due beyond is left out
SEEN_MOST = 300_000  # the last ones are kept
FAULTS = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)  # TimeoutError is an OSError
FAULTS_MOST = 20
KEPT_ASKS_EVERY_S = 0.2


class Seen(Struct, frozen=True):
    """One connection of an application. Times are monotonic."""

    began_s: float
    took_s: float  # to the answer, which was looked at
    network: str  # "": it failed


class Caller:
    """An application that connects so many times a second, asks one question each time, and hangs up."""

    def __init__(self, door: Address, per_s: float) -> None:
        self.seen: deque[Seen] = deque(maxlen=SEEN_MOST)
        self.connections = 0
        self.failed = 0
        self.faults: list[str] = []  # the first ones, in words
        self._door, self._per_s = door, per_s
        self._asking: set[asyncio.Task[None]] = set()

    async def run(self, ends: asyncio.Event) -> None:
        """Connect at a steady pace, however long the answers take, and wait for the last ones at the end."""
        start = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, start + number / self._per_s - time.monotonic()))
            if ends.is_set():
                break
            if len(self._asking) < WAITING_MOST:
                task = asyncio.create_task(self._ask())
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
        await asyncio.gather(*self._asking)

    async def _ask(self) -> None:
        began = time.monotonic()
        fault = ""
        network = ""
        try:
            async with asyncio.timeout(DEADLINE_S):
                network = await _asked(self._door)
        except FAULTS as error:
            fault = _words(error)
        self.connections += 1
        self.seen.append(Seen(began, time.monotonic() - began, network))
        if fault:
            self.failed += 1
            if len(self.faults) < FAULTS_MOST:
                self.faults.append(fault)


class Keeper:
    """An application with a connection of its own, on which it asks again and again."""

    def __init__(self, door: Address) -> None:
        self.answers = 0
        self.broken = 0
        self.network = ""
        self.faults: list[str] = []
        self._door = door
        self._hangs_up = asyncio.Event()

    async def run(self, ends: asyncio.Event) -> None:
        """Ask until the end. A connection that breaks is counted, and made anew."""
        while not ends.is_set():
            try:
                await self._talk(ends)
            except FAULTS as error:
                self.broken += 1
                if len(self.faults) < FAULTS_MOST:
                    self.faults.append(_words(error))
                await asyncio.sleep(KEPT_ASKS_EVERY_S)

    def hang_up(self) -> None:
        """Have it end its connection as applications do, and make another one."""
        self._hangs_up.set()

    async def _talk(self, ends: asyncio.Event) -> None:
        self._hangs_up.clear()
        async with asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(*self._door)
        try:
            while not (self._hangs_up.is_set() or ends.is_set()):
                async with asyncio.timeout(DEADLINE_S):
                    self.network = await _answered(reader, writer)
                self.answers += 1
                await asyncio.sleep(KEPT_ASKS_EVERY_S)
        finally:
            writer.close()


async def _asked(door: Address) -> str:
    reader, writer = await asyncio.open_connection(*door)
    try:
        return await _answered(reader, writer)
    finally:
        writer.close()


async def _answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """Ask, and return the network. ValueError: the answer is another one. EOFError: there is none."""
    question = os.urandom(8).hex().encode()
    writer.write(question + b"\n")
    answer = await reader.readuntil(b"\n")
    if not (network := network_of(answer, question)):
        raise ValueError("the answer is not the one to the question")
    return network


def _words(error: Exception) -> str:
    match error:
        case TimeoutError():
            return f"no answer within {DEADLINE_S:g} s"
        case EOFError():
            return "it ended before the answer came"
        case OSError():
            return reason_of(error)
    return str(error)


async def run_all(applications: Sequence[Caller | Keeper], ends: asyncio.Event) -> None:
    """Run them until the end is asked for and each has come to its own."""
    async with asyncio.TaskGroup() as group:
        for each in applications:
            group.create_task(each.run(ends))
