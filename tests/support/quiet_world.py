"""A node whose days of quiet are counted: clock and figures are set by tests, and processes come and go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec

from pcgrelay.clock import SetClock
from pcgrelay.config import Address, Config, ImportSettings
from pcgrelay.figures import ListenerFigures, OutletFigures
from pcgrelay.gateway.days import Days
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.strays import Strays
from pcgrelay.log.events import Record
from pcgrelay.model import ServiceName
from pcgrelay.services.listeners import ListenerCounts
from pcgrelay.services.outlet_meter import OutletMeter
from pcgrelay.state.writes import StateWrites
from tests.support.fake_core import Core

CUSTODY = ServiceName.parse("custody@kent.police.example")
BEGIN = datetime(2020, 2, 25, tzinfo=UTC)
HOUR_MS = 3_600_000
GONE = b"gone"


class Plane:
    """As the adapter, with the fake core behind it."""

    def __init__(self) -> None:
        self.core = Core(workers=1)
        self.came: dict[int, dict[str, int]] = {}

    def meter_open(self, outlets: int) -> int:
        return self.core.meter_open(outlets)

    def meter_close(self, meter: int) -> None:
        self.core.meter_close(meter)

    def listener(self, number: int) -> ListenerFigures:
        return ListenerFigures(**self.came.get(number, {}))

    def meter_read(self, meter: int) -> list[tuple[OutletFigures, OutletFigures]]:
        return msgspec.convert(self.core.meter_read(meter), list[tuple[OutletFigures, OutletFigures]])


@dataclass
class Outlets:
    meter: OutletMeter
    names: list[str]


@dataclass
class Import:
    settings: Any
    is_open: bool = True


def imported(*also: str) -> ImportSettings:
    return ImportSettings(
        service=CUSTODY, listen=Address.parse("127.0.0.1:1"), also=tuple(Address.parse(text) for text in also)
    )


class World:
    """A node with one import, whose old outlet is cjx. Processes come and go; folder and clock stay."""

    def __init__(self, folder: Path | None, *also: str) -> None:
        self.folder, self.also = folder, also
        self.clock = SetClock(BEGIN)
        self.lines: list[Record] = []
        self.draining = False
        self.begin()

    def begin(self) -> None:
        """Another process, without a folder read yet."""
        self.plane = Plane()
        self.imported = Import(imported(*self.also))
        self.meter = OutletMeter(cast(Any, self.plane))
        self.outlets = Outlets(self.meter, ["gateway", "cjx", "", ""])
        self.config = cast(Config, SimpleNamespace(node=SimpleNamespace(state=self.folder)))
        node = SimpleNamespace(
            clock=self.clock,
            emit=self.lines.append,
            draining=False,
            state=None if self.folder is None else SimpleNamespace(path=self.folder),
            local=SimpleNamespace(config=self.config),
            writes=StateWrites(),
        )
        self.node = node
        outlets = SimpleNamespace(with_outlets=lambda: iter([(self.imported, self.outlets)]))
        self.counts = ListenerCounts(cast(Any, self.plane))
        self.counts.configure([self.imported.settings])
        services = SimpleNamespace(
            imports=[self.imported], further_listeners=lambda each: self.counts.further(each.settings)
        )
        self.days = Days(
            cast(NodeParts, node),
            cast(EdgeServices, services),
            cast(EdgeOutlets, outlets),
            cast(Strays, SimpleNamespace(all=list)),
        )

    async def start(self) -> World:
        await self.days.prepare(self.config)
        self.days.load()
        self.look()
        return self

    def look(self) -> None:
        self.meter.look_again()
        self.node.draining = self.draining
        self.days.tick()

    async def pass_(self, milliseconds: int, step: int = HOUR_MS) -> None:
        """Time passes, and is looked at."""
        while milliseconds > 0:
            passed = min(step, milliseconds)
            milliseconds -= passed
            self.clock.advance(passed)
            self.look()
            if self.days._writing is not None:
                await asyncio.gather(self.days._writing)

    async def quiet_days(self, days: int) -> None:
        await self.pass_(days * 24 * HOUR_MS, 12 * HOUR_MS)

    def use(self, **figures: int) -> None:
        """Something uses the outlet; the figures are those since the process began."""
        self.plane.core.meters[self.meter.number][1][0].update(figures)

    async def restart(self, away_ms: int = 0, *, killed: bool = False) -> None:
        if not killed:
            await self.days.stop()
        self.clock.advance(away_ms)
        self.begin()
        await self.start()

    def why(self, days: int = 35) -> str | None:
        return self.days.why_not_quiet(CUSTODY, "cjx", days, self.days.today())

    def events(self) -> list[str]:
        return [line.EVENT for line in self.lines]
