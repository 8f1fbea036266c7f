"""The day records of an edge's old ways: what used each of them, and which time was looked at. The old ways are the
direct outlets of imports, their further listeners, where applications come that use an old address still, and at an
exporter the callers who still come without the gateway.

They are counted whether or not a service is being moved, so that the proof of quiet needs no preparation. The file is
written once a minute, and at once when an outlet is used for the first time on a day: a process that is killed must not
take the only stray of a day along. Without a folder for state they end with the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from pcgrelay.config import Config
from pcgrelay.cutover.days import DaysState, KeptDays, Look, Looking, merged, pruned, since
from pcgrelay.cutover.quiet import DayRecord, Minute, Quiet, quiet_on, why_not_quiet
from pcgrelay.errors import PcgrelayError
from pcgrelay.gateway.edge_outlets import EdgeOutlets
from pcgrelay.gateway.edge_services import EdgeServices
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.strays import Strays
from pcgrelay.gateway.tasks import spawn
from pcgrelay.handover.node import DaysHandover, NodeHandover
from pcgrelay.log.outlet_events import QuietDoubtful, QuietEnded, StateUnreadable, StateUnwritten
from pcgrelay.model import ServiceName
from pcgrelay.services.listeners import record_name as listener_record
from pcgrelay.services.outlet_meter import Use
from pcgrelay.services.strays import TARGET, record_name
from pcgrelay.state.file import Found, StateFile

NAME = "days.json"
KIND, VERSION = "pcgrelay days", 1
WRITE_MS = 60_000
AGAIN_MS = 10_000

Key = tuple[str, str]  # service and outlet
NOTHING = Use(0, 0, 0)


class Watched(NamedTuple):
    """Something that records are kept of."""

    key: Key
    counter: object  # what it is counted in: another one began with nothing
    use: Use
    is_open: bool  # whoever comes there is seen


class Days:
    """The day records of one edge."""

    def __init__(self, node: NodeParts, services: EdgeServices, outlets: EdgeOutlets, strays: Strays) -> None:
        self.reason = ""  # why they could not be written
        self._node = node
        self._services = services
        self._outlets = outlets
        self._strays = strays
        self._looking = Looking()
        self._kept: dict[Key, KeptDays] = {}
        # Figures as they were counted last, and what they are counted in; none: that of the process before this one.
        self._counted: dict[Key, tuple[object | None, Use]] = {}
        self._unknown: set[Key] = set()  # of which that process did not say how far it had counted
        self._blind: set[Key] = set()  # whose listener was not open for a moment of this minute
        self._file: StateFile[DaysState] | None = None
        self._read: tuple[Found, DaysState | None] | None = None
        self._is_loaded = False
        self._is_behind = False
        self._due_ms = 0  # when it is written next
        self._written_on: date | None = None  # the last day that the file has
        self._writing: asyncio.Task[None] | None = None

    # -- answers -----------------------------------------------------------------------------------------------

    @property
    def has_home(self) -> bool:
        """Whether they outlast the process."""
        return self._file is not None

    def today(self) -> date:
        return self._node.clock.wall().date()

    def known(self) -> list[Key]:
        """All outlets with records, by service and name."""
        return sorted(self._kept)

    def records(self, service: ServiceName | str, outlet: str) -> tuple[DayRecord, ...]:
        """The days of an outlet, oldest first."""
        kept = self._kept.get((str(service), outlet))
        return () if kept is None else kept.records

    def used(self, service: ServiceName | str, outlet: str) -> str:
        """When anything last used an outlet, to the second, as 2020-02-24T17:03:12Z; nothing: never."""
        kept = self._kept.get((str(service), outlet))
        return "" if kept is None else kept.used

    def quiet(self, service: ServiceName | str, outlet: str) -> Quiet:
        """What is proven today."""
        return quiet_on(self.records(service, outlet), self.today())

    def quiet_days(self, service: ServiceName | str, outlet: str) -> int:
        """How many days of quiet are proven today."""
        return self.quiet(service, outlet).days

    def why_not_quiet(
        self, service: ServiceName | str, outlet: str, days: int, today: date | None = None
    ) -> str | None:
        """Why so many days of quiet are not proven, in a sentence without its full stop; nothing if they are."""
        return why_not_quiet(self.records(service, outlet), today or self.today(), days)

    # -- life --------------------------------------------------------------------------------------------------

    async def prepare(self, config: Config) -> None:
        """Read what an earlier process left, once. In an upgrade that is done while the other process still runs."""
        if self._read is None and config.node.state is not None:
            self._read = await asyncio.to_thread(_file_in(config).read)

    def load(self) -> None:
        """Go on with what was read, once the folder is this node's."""
        if self._is_loaded or self._node.state is None or self._read is None:
            return
        self._is_loaded = True
        self._file = _file_in(self._node.local.config)
        found, state = self._read
        if found in (Found.BEFORE, Found.LOST):
            self._node.emit(StateUnreadable(file=NAME, lost=found is Found.LOST))
        if state is None:
            return
        if self._looking.until is None:
            self._looking.resume(state.until, state.rest_ms)
        for each in state.outlets:
            key = (each.service, each.outlet)
            self._kept[key] = merged(each, self._kept.get(key, each))

    def tick(self) -> None:
        """Once a second, after the meters were read."""
        self._look()
        self._write_if_due()

    def look_again(self) -> None:
        """Count all that there is up to now, because something final is about to be decided."""
        meters = [outlets.meter for _, outlets in self._outlets.with_outlets()]
        for meter in (*meters, *(stray.meter for stray in self._strays.all())):
            meter.look_again()
        self._look()

    async def stop(self) -> None:
        """Count a last time, and write it."""
        self.look_again()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        if self._file is not None:
            await self._write()

    # -- counting ----------------------------------------------------------------------------------------------

    def _look(self) -> None:
        wall, now_ms = self._node.clock.wall(), self._node.clock.monotonic_ms()
        self._count(wall.date())
        # Who comes to a port that is shut is not seen.
        self._looked(self._looking.look(wall, now_ms, is_blind=self._node.draining))

    def _count(self, today: date) -> None:
        """Add what used the outlets since the last look to today."""
        counted: dict[Key, tuple[object | None, Use]] = {}
        for each in self._watched():
            key, use = each.key, each.use
            if not each.is_open:
                self._blind.add(key)
            last, before = self._counted.get(key, (each.counter, use if key in self._unknown else NOTHING))
            # A meter that was opened anew began with nothing.
            self._add(key, use.since(before if last in (each.counter, None) else NOTHING), today)
            counted[key] = (each.counter, use)
        self._counted, self._unknown = counted, set()

    def _watched(self) -> Iterator[Watched]:
        """Yield all that records are kept of: direct outlets, further listeners, and callers who come the old way."""
        for imported, outlets in self._outlets.with_outlets():
            service = str(imported.settings.service)
            for index, name in enumerate(outlets.names):
                if index and name:
                    yield Watched((service, name), outlets.meter, outlets.meter.use(index), imported.is_open)
        for imported in self._services.imports:
            for address, counter, figures in self._services.further_listeners(imported):
                key = (str(imported.settings.service), listener_record(address))
                yield Watched(key, counter, Use.of_listener(figures), imported.is_open)
        for stray in self._strays.all():
            key = (str(stray.service), record_name(stray.caller))
            yield Watched(key, stray.meter, stray.meter.use(TARGET), stray.is_open)

    def _add(self, key: Key, use: Use, today: date) -> None:
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = KeptDays(service=key[0], outlet=key[1])
        if use == NOTHING:
            return
        last = kept.records[-1] if kept.records and kept.records[-1].day == today else None
        if last is None or not last.is_used:
            # The only stray of a day is written at once.
            self._due_ms = 0
            if days := quiet_on(kept.records, today).days:
                self._node.emit(QuietEnded(service=key[0], outlet=key[1], days=days))
        elif not use.connections and not use.transferred and use.streams <= last.streams:
            return
        after = kept.after(Minute(today, 0, use.connections, use.transferred, use.streams))
        now = self._node.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ")
        is_new = use.connections or use.transferred or not kept.used
        self._kept[key] = KeptDays(
            service=after.service, outlet=after.outlet, records=after.records, used=now if is_new else kept.used
        )
        self._is_behind = True

    def _looked(self, look: Look) -> None:
        if look.is_empty:
            return
        for key in self._configured():
            kept = self._kept.get(key, KeptDays(service=key[0], outlet=key[1]))
            for day in look.doubtful:
                kept = kept.after(Minute(day, 0, jumped=True))
            for day, minutes in look.minutes if key not in self._blind else ():
                kept = kept.after(Minute(day, minutes))
            self._kept[key] = kept
        self._blind.clear()
        self._is_behind = True
        if look.doubtful and self._kept:
            days = tuple(day.isoformat() for day in look.doubtful)
            self._node.emit(QuietDoubtful(days=days, seconds=round(look.jumped_ms / 1000)))

    def _configured(self) -> set[Key]:
        """The outlets that could be used now."""
        return {each.key for each in self._watched()}

    # -- the file ----------------------------------------------------------------------------------------------

    def _write_if_due(self) -> None:
        now_ms = self._node.clock.monotonic_ms()
        is_writing = self._writing is not None and not self._writing.done()
        if self._file is not None and self._is_behind and not is_writing and now_ms >= self._due_ms:
            self._due_ms = now_ms + WRITE_MS
            self._writing = spawn(self._write(), "state", self._node.emit)

    async def _write(self) -> None:
        assert self._file is not None
        outlets, today = pruned(self._kept.values(), self._configured(), self.today()), self.today()
        self._kept = {(each.service, each.outlet): each for each in outlets}
        self._is_behind = False
        try:
            state = DaysState(until=self._looking.until, rest_ms=self._looking.rest_ms, outlets=outlets)
            await self._node.writes.run(self._file.write, state)
            self.reason, self._written_on = "", today
        except PcgrelayError as error:
            self._is_behind = True
            self._due_ms = self._node.clock.monotonic_ms() + AGAIN_MS
            if not self.reason:
                self._node.emit(StateUnwritten(reason=str(error)))
            self.reason = str(error)

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> DaysHandover:
        """Return what the file may not have; the core stands still, and the meters were read."""
        self._count(self.today())
        # The other process may have read the file a while ago.
        day = None if self._written_on is None else min(self._written_on, _yesterday(self.today()))
        return DaysHandover(
            until=self._looking.until,
            rest_ms=self._looking.rest_ms,
            monotonic_ms=self._looking.last_ms,
            outlets=tuple(
                KeptDays(service=each.service, outlet=each.outlet, records=since(each.records, day), used=each.used)
                for each in self._kept.values()
            ),
        )

    def restore(self, handover: NodeHandover) -> None:
        """Go on where another process was; its figures are counted already."""
        self.load()
        services = {each.number: each.service for each in handover.imports}
        self._counted = {
            (services[each.number], outlet.name): (None, Use.of(outlet.real))
            for each in handover.outlets
            if each.number in services
            for outlet in each.outlets
            if outlet.name
        }
        for stray in handover.strays:
            self._counted[stray.service, record_name(stray.caller)] = (None, Use.of(stray.real))
        for imported in handover.imports:
            for listener in imported.listeners:
                key = (imported.service, listener_record(listener.address))
                if listener.figures is None:
                    self._unknown.add(key)
                else:
                    self._counted[key] = (None, Use.of_listener(listener.figures))
        left = handover.days
        if left is None:
            # A process of before counted no days.
            return
        self._looking.resume(left.until, left.rest_ms, left.monotonic_ms)
        for each in left.outlets:
            key = (each.service, each.outlet)
            self._kept[key] = merged(self._kept.get(key, each), each)
        self._is_behind = True


def _file_in(config: Config) -> StateFile[DaysState]:
    assert config.node.state is not None
    return StateFile(config.node.state / NAME, KIND, VERSION, DaysState)


def _yesterday(today: date) -> date:
    return date.fromordinal(max(today.toordinal() - 1, 1))
