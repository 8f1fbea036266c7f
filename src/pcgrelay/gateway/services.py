"""The services of an edge, each under a number that the core knows it by.

A service keeps its number for as long as it is configured, through every reload, since streams and counts hang on it.
A number that is given up is the last to be used again: what the core still has to say of it must not be taken for news
of another service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pcgrelay.config import ExportSettings, ImportSettings
from pcgrelay.gateway.targets import Target
from pcgrelay.model import ServiceName
from pcgrelay.routing.table import Exporter, ImportPlan, ImportState

NUMBERS_MOST = 65_536
# The core counts the streams of numbers below this one by one.
NUMBERS_COUNTED = 1_024


@dataclass(slots=True)
class Exported:
    """One export."""

    number: int
    settings: ExportSettings
    target: Target
    task: asyncio.Task[None] | None = None  # keeps the target's addresses and health fresh


@dataclass(slots=True)
class Imported:
    """One import."""

    number: int
    settings: ImportSettings
    exporters: list[Exporter] = field(default_factory=list)
    is_known: bool = False  # some edge says something of it
    is_open: bool = False  # its listener
    plan: ImportPlan = field(default_factory=lambda: ImportPlan(ImportState.PENDING, 1, ()))


class Numbers:
    """Numbers of one kind of service."""

    def __init__(self) -> None:
        self._names: dict[int, ServiceName] = {}  # of numbers that were given up too, until they are used again
        self._taken: dict[ServiceName, int] = {}
        self._next = 0

    def name_of(self, number: int) -> ServiceName | None:
        """The service that has or last had this number."""
        return self._names.get(number)

    def inherit(self, numbers: Mapping[int, ServiceName]) -> None:
        """Give these services the numbers that they had in the process before this one."""
        for number, name in numbers.items():
            self._taken[name] = number
            self._names[number] = name
            self._next = max(self._next, number + 1)

    def take(self, name: ServiceName) -> int:
        """The number of a service; a new one if it has none."""
        if name in self._taken:
            return self._taken[name]
        taken = set(self._taken.values())
        round_trip = NUMBERS_COUNTED if len(taken) < NUMBERS_COUNTED else NUMBERS_MOST
        number = self._next % round_trip
        while number in taken:
            number = (number + 1) % round_trip
        self._next = number + 1
        self._taken[name] = number
        self._names[number] = name
        return number

    def keep(self, names: Iterable[ServiceName]) -> list[int]:
        """Give up the numbers of all services but these; answers which."""
        kept = set(names)
        gone = [name for name in self._taken if name not in kept]
        return [self._taken.pop(name) for name in gone]
