"""Retiring an outlet: refused unless it is proven quiet, and final.

The cut-over writes that it is retired, and the tables follow. What was proven is kept here, apart from the cut-over:
the certificate of a network asks for it long after the outlet is gone from the configuration. An outlet that is retired
and still configured does not come back at a start.
"""

from __future__ import annotations

import asyncio

from pcgrelay.config import GATEWAY, Config
from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.cutover.requests import Request
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutovers import Cutovers
from pcgrelay.gateway.days import Days
from pcgrelay.gateway.governors import Governed
from pcgrelay.gateway.role import NodeParts
from pcgrelay.gateway.tasks import spawn
from pcgrelay.log.outlet_events import StateUnreadable, StateUnwritten
from pcgrelay.model import ServiceName
from pcgrelay.services.retired import NAME, RetiredOutlet, RetiredState, retired_file, still_named, still_named_words
from pcgrelay.state.file import Found, StateFile


class Retirement:
    """The retired outlets of one edge."""

    def __init__(self, node: NodeParts, days: Days, cutovers: Cutovers) -> None:
        self.state = RetiredState()
        self.reason = ""  # why it could not be written
        self._node = node
        self._days = days
        self._cutovers = cutovers
        self._file: StateFile[RetiredState] | None = None
        self._written = self.state
        self._lock = asyncio.Lock()
        self._writing: asyncio.Task[None] | None = None

    def load(self) -> None:
        """Read what an earlier process left, once, before outlets are made."""
        if self._file is not None or self._node.state is None:
            return
        self._file = retired_file(self._node.state.path)
        found, state = self._file.read()
        if found in (Found.BEFORE, Found.LOST):
            self._node.emit(StateUnreadable(file=NAME, lost=found is Found.LOST))
        self.state = self._written = state or RetiredState()

    def is_retired(self, service: ServiceName, outlet: str) -> bool:
        """Whether an outlet is never used again."""
        return self.state.find(str(service), outlet) is not None

    def governs(self, service: ServiceName) -> Governed | None:
        """Keep a retired outlet closed where the file of its cut-over is lost."""
        closed = frozenset(each.outlet for each in self.state.outlets if each.service == str(service))
        return Governed({GATEWAY: 100.0}, without=closed) if closed else None

    def why_not_by_hand(self, service: ServiceName) -> str | None:
        """Why shares are not to be set by hand."""
        if self.governs(service) is None or self._cutovers.get(service) is not None:
            return None
        return f"an outlet of {service} is retired, and the file of its cut-over is lost; all goes to the gateway"

    def still_named(self) -> list[str]:
        """What the configuration that is in force names, though it is retired; each in words."""
        found = still_named(self._node.local.config, self.state.outlets)
        return [still_named_words(index, retired) for index, retired in found]

    def check(self, config: Config) -> None:
        """Refuse a configuration that brings a retired outlet back. ConfigError: it does."""
        for index, retired in still_named(config, self.state.outlets):
            raise ConfigError(f"{config.path}: {still_named_words(index, retired)}.")

    def tick(self) -> None:
        """Once a second: note what the cut-overs know and the file does not, and write what is behind."""
        for cutover in self._cutovers.all():
            service, outlet = cutover.plan.service, cutover.plan.old
            if cutover.phase is Phase.RETIRED and self.state.find(service, outlet) is None:
                self.state = self.state.with_outlet(self._record(service, outlet, Actor(0)))
        is_writing = self._writing is not None and not self._writing.done()
        if self._file is not None and self._written != self.state and not is_writing:
            self._writing = spawn(self._write_again(), "state", self._node.emit)

    async def stop(self) -> None:
        """Finish what is being written."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    # -- retiring ----------------------------------------------------------------------------------------------

    def why_not(self, service: ServiceName, outlet: str) -> str:
        """Why an outlet cannot be retired now, in a sentence; nothing if it can."""
        self._days.look_again()
        cutover = self._cutovers.get(service)
        if cutover is None:
            return (
                f"{service} has no cut-over, so nothing shows that it has moved away from {outlet}; "
                "begin with: pcgrelay cutover plan --help"
            )
        plan, phase = cutover.plan, cutover.phase
        if plan.old != outlet:
            return f"The cut-over of {service} moves it away from {plan.old}, and not from {outlet}."
        if phase is Phase.RETIRED:
            return ""
        not_quiet = self._days.why_not_quiet(service, outlet, plan.quiet_days)
        if phase not in (Phase.ARRIVED, Phase.QUIET):
            return f"{service} is {phase.value}; it has to arrive, and {outlet} to be quiet for {plan.quiet_days} days."
        if not_quiet is not None:
            return f"{outlet} of {service} is not quiet: {not_quiet}."
        if phase is Phase.ARRIVED:
            return f"{service} has just become quiet and is looked at once more; ask again in a second."
        return ""

    async def retire(self, service: ServiceName, outlet: str, actor: Actor) -> tuple[str, ...]:
        """Have an outlet take no streams any more, for good. RuleProblem: it is refused. Answers warnings."""
        if why := self.why_not(service, outlet):
            raise RuleProblem(why)
        if self.is_retired(service, outlet):
            return ()
        record = self._record(str(service), outlet, actor)
        request = Request(Event.RETIRE, by=actor.by, reason=actor.reason, is_approved=True)
        cutover = self._cutovers.get(service)
        assert cutover is not None
        warnings = (await self._cutovers.request(cutover, request, actor)).warnings
        self.state = self.state.with_outlet(record)
        if unwritten := await self._write():
            warnings = (*warnings, f"The proof is not written yet ({unwritten.rstrip('.')}); it is tried again.")
        return warnings

    def _record(self, service: str, outlet: str, actor: Actor) -> RetiredOutlet:
        quiet, used = self._days.quiet(service, outlet), self._days.used(service, outlet)
        records = self._days.records(service, outlet)
        directs = self._node.local.config.directs
        return RetiredOutlet(
            service=service,
            outlet=outlet,
            bearer=next((each.bearer for each in directs if (str(each.service), each.name) == (service, outlet)), ""),
            at=self._node.clock.wall().strftime("%Y-%m-%dT%H:%M:%SZ"),
            days=quiet.days,
            since="" if quiet.since is None else quiet.since.isoformat(),
            coverage=quiet.coverage,
            used=used,
            used_connections=sum(each.connections for each in records if each.day.isoformat() == used[:10]),
            uid=actor.uid,
            by=actor.by,
            reason=actor.reason,
        )

    # -- the file ----------------------------------------------------------------------------------------------

    async def _write(self) -> str:
        """Write what holds; answers why that failed, or nothing."""
        if self._file is None:
            return "there is no folder for state"
        async with self._lock:
            state = self.state
            try:
                await self._node.writes.run(self._file.write, state)
            except PcgrelayError as error:
                if not self.reason:
                    self._node.emit(StateUnwritten(reason=str(error)))
                self.reason = str(error)
                return self.reason
            self._written, self.reason = state, ""
        return ""

    async def _write_again(self) -> None:
        await self._write()
