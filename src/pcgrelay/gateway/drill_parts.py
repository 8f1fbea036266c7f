"""What a drill is given: the parts of an edge that it uses, what was asked for, and the word to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pcgrelay.drills.record import DrillFile, DrillRecord
from pcgrelay.gateway.cutovers import Cutovers
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.governors import Governed
from pcgrelay.gateway.role import NodeParts
from pcgrelay.model import ServiceName
from pcgrelay.services.publisher import TablePublisher
from pcgrelay.session.table import Sessions


@dataclass(frozen=True, slots=True)
class DrillParts:
    """The parts of an edge."""

    node: NodeParts
    services: EdgeServices
    outlets: EdgeOutlets
    sessions: Sessions
    publisher: TablePublisher
    cutovers: Cutovers
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    kind: str
    subject: str
    lasts_s: float
    share: float = 100.0
    even_so: bool = False
    auto: bool = False
    without_lock: bool = False  # of the fleet


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a drill that a command has held."""

    result: str
    sentence: str
    took_s: float
    files: tuple[DrillFile, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a drill would touch, in a sentence; and what might be lost."""

    sentence: str
    losses: tuple[str, ...] = ()


class Stop:
    """The word to stop, with its reason."""

    def __init__(self) -> None:
        self.reason = ""
        self._event = asyncio.Event()

    def now(self, reason: str) -> None:
        """Stop; the first reason counts."""
        self.reason = self.reason or reason
        self._event.set()

    async def within(self, seconds: float) -> bool:
        """Wait so long, or until it is time to stop; whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        return self._event.is_set()


class Drill(Protocol):
    """One drill of a kind. It is made when it is asked for; the node is untouched until it runs."""

    def plan(self) -> Plan: ...
    async def run(self, record: DrillRecord, stop: Stop) -> DrillRecord:
        """Hold it; all is as before when this returns. What came of it is in the record."""

    def undo(self) -> None:
        """Have all as it was before, whatever happened; may be called twice."""

    def so_far(self, record: DrillRecord) -> DrillRecord:
        """The record with what is known of it now."""

    def setup_failed(self, number: int, outlet: int, outcome: str, client: int) -> None:
        """A set-up of an application failed on an outlet of an import."""

    def governs(self, service: ServiceName) -> Governed | None:
        """How it deals the new streams of a service."""
