"""The services of an edge, each with the number by which the core knows it.

A service keeps its number as long as it is configured, through every reload, because streams and counts refer to it. A
freed number is reused last: a late event of the core must not be attributed to another service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pcgrelay.config import ExportSettings, ImportSettings
from pcgrelay.health.damping import FORGET_MS, FlapDamping
from pcgrelay.model import NodeId, Priority, ServiceName
from pcgrelay.services.imports import Exporter, ImportPlan, ImportState
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.targets import Target
from pcgrelay.session.session import Key

NUMBERS_MOST = 65_536
# The core keeps separate stream counts for numbers below this one.
NUMBERS_COUNTED = 1_024
TOO_MANY_ROUTES = "too_many_routes"


@dataclass(slots=True)
class Exported:
    """One export."""

    number: int
    settings: ExportSettings
    target: Target
    task: asyncio.Task[None] | None = None  # keeps the target's addresses and health up to date


@dataclass(slots=True)
class Imported:
    """One import."""

    number: int
    settings: ImportSettings
    exporters: list[Exporter] = field(default_factory=list)
    is_known: bool = False  # at least one edge announces it
    # The highest of all that edges announce of it, those that take no streams now included; the last one holds while
    # nobody announces it. None: nobody ever has.
    marking: int | None = None
    is_open: bool = False  # whether its listener is open
    workers: int = 1  # of datagrams: so many have a socket of each listener
    refusal: str = ""  # why the core refused its listener
    plan: ImportPlan = field(default_factory=lambda: ImportPlan(ImportState.PENDING, 1, ()))
    damping: dict[NodeId, FlapDamping] = field(
        default_factory=dict
    )  # of each exporter that is known, or failed recently
    outlets: ImportOutlets | None = None  # beside the gateway, if it has any

    @property
    def priority_most(self) -> int:
        """The highest class of its streams, if the exporter allows it."""
        return Priority.CRITICAL if self.settings.priority is None else self.settings.priority

    def weigh(self, is_well: Callable[[Exporter, bool], bool], now_ms: int) -> None:
        """Update the damping of each exporter; after a failure it must be healthy for a while to be preferred again.

        is_well gets an exporter and whether it was healthy before.
        """
        well = {each.edge for each in self.exporters if is_well(each, self._was_well(each.edge))}
        for edge in well | set(self.damping):
            damping = self.damping.get(edge, FlapDamping()).after(edge in well, now_ms)
            self.damping[edge] = damping
            if edge not in well and now_ms - damping.since_ms > FORGET_MS:
                del self.damping[edge]

    def planned(self, plan: ImportPlan, refuse_count: Callable[[str], None]) -> None:
        """Apply a plan, and count each session that is newly left out."""
        for _ in plan.left_out - self.plan.left_out:
            refuse_count(TOO_MANY_ROUTES)
        self.plan = plan

    def _was_well(self, edge: NodeId) -> bool:
        return self.damping.get(edge, FlapDamping()).is_well

    def is_steady(self, edge: NodeId, now_ms: int) -> bool:
        """Return whether an exporter may have the rank of its precedence."""
        return self.damping.get(edge, FlapDamping()).is_steady(now_ms)

    def is_held_down(self, now_ms: int) -> bool:
        """Return whether an exporter is in hold-down, so that time alone will make it preferred again."""
        return any(each.left_ms(now_ms) for each in self.damping.values())


def key_of(exporter: Exporter) -> Key:
    """Return the key of the session that carries streams to an exporter."""
    return Key(exporter.edge, exporter.marking, exporter.priority)


def exports_with(
    known: Iterable[Exported],
    settings: Sequence[ExportSettings],
    numbers: Numbers,
    targets: Mapping[ServiceName, Target],
) -> list[Exported]:
    """Return the exports as they will be with other settings; nothing is changed and no task started.

    targets: those opened for the new settings; all others continue.
    """
    numbers = numbers.copy()
    numbers.keep(export.service for export in settings)
    living = {exported.settings.service: exported.target for exported in known}
    return [
        Exported(numbers.take(each.service), each, targets.get(each.service) or living[each.service])
        for each in settings
    ]


def imports_with(known: Iterable[Imported], settings: Sequence[ImportSettings], numbers: Numbers) -> list[Imported]:
    """Return the imports as they will be with other settings; nothing is changed."""
    numbers = numbers.copy()
    numbers.keep(entry.service for entry in settings)
    living = {imported.settings.service: imported for imported in known}
    return [
        replace(living[each.service], settings=each)
        if each.service in living
        else Imported(numbers.take(each.service), each)
        for each in settings
    ]


class Numbers:
    """Numbers of the imports or of the exports."""

    def __init__(self) -> None:
        self._names: dict[int, ServiceName] = {}  # includes freed numbers until they are reused
        self._taken: dict[ServiceName, int] = {}
        self._next = 0

    def copy(self) -> Numbers:
        """Return a copy, to try out a change."""
        other = Numbers()
        other._names, other._taken, other._next = dict(self._names), dict(self._taken), self._next
        return other

    def name_of(self, number: int) -> ServiceName | None:
        """Return the service that has or last had this number."""
        return self._names.get(number)

    def restore(self, numbers: Mapping[int, ServiceName]) -> None:
        """Restore the numbers that services had in the previous process."""
        for number, name in numbers.items():
            self._taken[name] = number
            self._names[number] = name
            self._next = max(self._next, number + 1)

    def take(self, name: ServiceName) -> int:
        """Return the number of a service; a new service gets a new one."""
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
        """Free the numbers of all services but these; return the freed ones."""
        kept = set(names)
        gone = [name for name in self._taken if name not in kept]
        return [self._taken.pop(name) for name in gone]
