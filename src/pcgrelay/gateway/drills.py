"""Drills of an edge, one at a time: asked for, watched, ended, and kept as records.

A drill changes nothing that lasts. Its shares and its bar are in memory alone, so a node that dies while one runs is as
it was before when it starts again; the record then says that the drill was broken off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from msgspec import structs

from pcgrelay.cutover.phases import Phase
from pcgrelay.drills.due import (
    Due,
    begins_now,
    dues,
    moment_text,
    settings_of,
    was_tried_today,
    window_problem,
)
from pcgrelay.drills.record import (
    BACKUP,
    BEARER_LOSS,
    BROKEN,
    FAILED,
    LOSSES,
    RELAY_LOSS,
    RESTORE,
    RUNNING,
    STOPPED,
    DrillRecord,
    identifier,
    title,
)
from pcgrelay.errors import ConfigError, PcgrelayError, RuleProblem, RunError
from pcgrelay.fleet.lock import DRILL
from pcgrelay.gateway.actor import Actor, user_name
from pcgrelay.gateway.change_lock import ChangeHeld, ChangeLock, ChangeUnproved
from pcgrelay.gateway.drill_backup import BackupDrill
from pcgrelay.gateway.drill_files import RECORDS_MOST, DrillFiles
from pcgrelay.gateway.drill_loss import LossDrill
from pcgrelay.gateway.drill_parts import Drill, DrillParts, Outcome, Plan, Request, Stop
from pcgrelay.gateway.governors import Governed
from pcgrelay.gateway.tasks import spawn
from pcgrelay.log.drill_events import DrillBegun, DrillEnded, DrillRefused
from pcgrelay.log.events import Failure
from pcgrelay.log.outlet_events import StateUnreadable, StateUnwritten
from pcgrelay.model import ServiceName
from pcgrelay.printable import printable

TEXT_MOST = 200
# For a node that stops: so long a drill may take to undo what it did.
STOP_MOST_S = 2.0
NO_HOME = (
    "Nothing would remember the drill, for the node has no folder for its record; write "
    'state = "/var/lib/pcgrelay/{name}" in [node], make that folder (install -d -m 0700, owned by the node\'s user), '
    "and restart the node."
)
# What the node begins by itself, it does not begin in the first moments.
AUTO_FIRST_MS = 30_000
# While another node is being changed it tries again so often.
AUTO_AGAIN_MS = 60_000
BY_ITSELF = "the node itself"


# Inside of which an act that may lose something is approved: its name, its text, who asks.
Acting = Callable[[str, str, Actor], AbstractAsyncContextManager[object]]


class _Running:
    """The drill that runs."""

    def __init__(self, drill: Drill, record: DrillRecord, stop: Stop) -> None:
        self.drill = drill
        self.record = record
        self.stop = stop
        self.task: asyncio.Task[None] | None = None


class Drills:
    """The drills of one edge. While one of a back-up runs it decides the shares of that service."""

    def __init__(self, parts: DrillParts) -> None:
        self.records: list[DrillRecord] = []  # oldest first
        self.reason = ""  # why a record could not be written
        self._parts = parts
        self._files: DrillFiles | None = None
        self._running: _Running | None = None
        self._beginning = False
        self._stopped_early = ""  # why the one that begins is to end at once
        self._auto: asyncio.Task[None] | None = None
        self._auto_after_ms = 0
        self._auto_waits = ""  # why the one that is due has to wait
        self._gone: list[DrillRecord] = []  # of too many, whose files are still there

    # -- what is there -----------------------------------------------------------------------------------------

    @property
    def running(self) -> DrillRecord | None:
        """The drill that runs, with what is known of it now."""
        running = self._running
        return None if running is None else running.drill.so_far(running.record)

    def find(self, name: str) -> DrillRecord:
        """The drill with that name. RunError: there is none."""
        for record in self._all():
            if record.id == name:
                return record
        raise RunError(f"There is no drill {printable(name)[:80]}; pcgrelay drill list shows those that there are.")

    def _all(self) -> Iterator[DrillRecord]:
        yield from self.records
        if (running := self.running) is not None:
            yield running

    def dues(self) -> list[Due]:
        """The drills that are due again and again."""
        return dues(self._parts.node.local.config.drills, self._subjects(), self.records)

    def _subjects(self) -> dict[str, list[str]]:
        config = self._parts.node.local.config
        return {
            BACKUP: [str(entry.service) for entry in config.imports if config.directs_of(entry.service)],
            RELAY_LOSS: sorted(self._dialled()),
            BEARER_LOSS: sorted(
                {*(link.bearer for link in config.links), *(listen.bearer for listen in config.listens)}
            ),
            RESTORE: [""],
        }

    def _dialled(self) -> set[str]:
        """The neighbours that this node dials: those of the file, and the relays that DNS has led it to."""
        node = self._parts.node
        found = (slot for each in node.link_table.dialler.discoveries for slot in each.slots if slot.link is not None)
        peers = {link.peer for link in node.local.config.named_links} | {slot.peer for slot in found if slot.peer}
        return {peer.dotted for peer in peers}

    # -- governing ---------------------------------------------------------------------------------------------

    def governs(self, service: ServiceName) -> Governed | None:
        """How a drill deals the new streams of a service."""
        return None if self._running is None else self._running.drill.governs(service)

    def why_not_by_hand(self, service: ServiceName) -> str | None:
        """Why shares are not to be set by hand."""
        running = self._running
        if running is None or running.drill.governs(service) is None:
            return None
        return f"{self._named(running.record)} decides its shares; wait, or stop it with pcgrelay drill stop"

    def why_not_now(self) -> str:
        """Why nothing that is judged may begin now, as a cut-over; nothing if it may."""
        return "" if self._running is None else f"{self._named(self._running.record)}; wait, or stop it"

    def setup_failed(self, number: int, outlet: int, outcome: str, client: int) -> None:
        """A set-up of an application failed on an outlet of an import."""
        if self._running is not None:
            self._running.drill.setup_failed(number, outlet, outcome, client)

    def why_no_upgrade(self) -> str:
        """Why the node is not handed over now."""
        return "" if self._running is None else f"{self._named(self._running.record)}; wait, or stop it"

    def _named(self, record: DrillRecord) -> str:
        return f"the drill {title(record.kind, record.subject)} is under way"

    # -- life --------------------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Read the records, once. One that says that it runs was broken off: no process before this one lives."""
        if self._files is not None or self._parts.node.state is None:
            return
        self._files = DrillFiles(self._parts.node.state.path)
        self.records, odd = self._files.read()
        for name in odd:
            self._parts.node.emit(StateUnreadable(file=name, lost=True))
        for place, record in enumerate(self.records):
            if not record.is_over:
                self.records[place] = self._broken(record)

    def _broken(self, record: DrillRecord) -> DrillRecord:
        record = structs.replace(
            record,
            result=BROKEN,
            ended=moment_text(self._parts.node.clock.wall()),
            sentence="the node ended while it ran; all is as it was before",
        )
        self._tell(record)
        self._write_now(record)
        return record

    async def close(self) -> None:
        """Stop what runs, and finish what is being written."""
        if self._auto is not None:
            self._auto.cancel()
        self.stop("the node stops")
        running = self._running
        if running is not None and running.task is not None:
            await asyncio.wait({running.task}, timeout=STOP_MOST_S)
            running.task.cancel()
            running.drill.undo()

    def stop(self, reason: str) -> None:
        """Stop what runs or begins, if anything does."""
        if self._running is not None:
            self._running.stop.now(reason)
        elif self._beginning:
            self._stopped_early = self._stopped_early or reason

    # -- a drill -----------------------------------------------------------------------------------------------

    def plan(self, request: Request) -> tuple[Drill, Plan]:
        """What a drill would touch, and what might be lost. PcgrelayError: it would be refused in any case."""
        self._refuse_now()
        drill = self._made(request)
        plan = drill.plan()
        config = self._parts.node.local.config
        settings = settings_of(config.drills, request.kind, request.subject)
        if settings is not None and (problem := window_problem(settings.calendar, self._parts.node.clock.wall())):
            plan = Plan(plan.sentence, (*plan.losses, problem))
        return drill, plan

    def _refuse_now(self) -> None:
        parts = self._parts
        if self._files is None:
            raise ConfigError(NO_HOME.format(name=parts.node.local.config.node.id.name))
        if self._running is not None or self._beginning:
            what = "another one begins" if self._running is None else self._named(self._running.record)
            raise RuleProblem(f"One drill at a time: {what}; wait, or stop it with pcgrelay drill stop.")
        self._refuse_unfit()

    def _refuse_unfit(self) -> None:
        parts = self._parts
        if parts.node.draining:
            raise RuleProblem(
                "The node drains, so a drill would show nothing; undo that first (pcgrelay drain --undo)."
            )
        for cutover in parts.cutovers.all():
            if cutover.phase in (Phase.SOAKING, Phase.PAUSED):
                raise RuleProblem(
                    f"The cut-over of {cutover.service} is {cutover.phase.value}, and a drill would be held against "
                    "it; wait until it has arrived, or go back first."
                )

    def _made(self, request: Request) -> Drill:
        if request.kind in LOSSES:
            return LossDrill(self._parts, request)
        if request.kind == BACKUP:
            return BackupDrill(self._parts, request)
        raise RunError(f"There is no drill {printable(request.kind)[:40]} that a node holds.")

    async def begin(
        self, request: Request, actor: Actor | None, acting: Acting | None = None
    ) -> tuple[DrillRecord, Plan]:
        """Begin a drill. PcgrelayError: it is refused, and nothing has changed.

        acting: allows what may lose something; nothing: then nothing may be lost.
        """
        drill, plan = self.plan(request)
        if not plan.losses:
            return await self._begin(drill, plan, request, actor), plan
        if not request.even_so or acting is None or actor is None:
            raise RuleProblem(f"{'; '.join(plan.losses)}. Nothing was done; add --even-so if that is what you want.")
        text = f"{title(request.kind, request.subject)}: {'; '.join(plan.losses)}"
        async with acting("drill --even-so", text, actor):
            return await self._begin(drill, plan, request, actor), plan

    async def _begin(self, drill: Drill, plan: Plan, request: Request, actor: Actor | None) -> DrillRecord:
        self._beginning, self._stopped_early = True, ""
        try:
            await self._lock(request, actor)
            try:
                # Anything may have begun while the store was asked.
                self._refuse_unfit()
                record = self._record(request, actor, even_so=bool(plan.losses))
                await self._write(record)
            except BaseException:
                await self._changes.give_back(DRILL)
                raise
            running = self._running = _Running(drill, record, Stop())
            if self._stopped_early:
                self.stop(self._stopped_early)
        finally:
            self._beginning = False
        self._parts.node.emit(
            DrillBegun(
                id=record.id,
                kind=record.kind,
                subject=record.subject,
                lasts_s=record.lasts_s,
                auto=record.auto,
                even_so=record.even_so,
                sentence=plan.sentence,
                uid=record.uid,
                by=record.by,
                reason=record.reason,
            )
        )
        running.task = spawn(self._run(running), "drill", self._parts.node.emit)
        return record

    @property
    def _changes(self) -> ChangeLock:
        return self._parts.node.fleet.changes

    async def _lock(self, request: Request, actor: Actor | None) -> None:
        """Take the lock of the fleet. PcgrelayError: it is not to be had."""
        by = BY_ITSELF if actor is None else user_name(actor.uid)
        if request.without_lock:
            self._changes.pass_over(DRILL, by)
        else:
            await self._changes.take(DRILL, by)

    async def restored(self, outcome: Outcome, actor: Actor) -> DrillRecord:
        """Keep the record of a back-up that a command has restored elsewhere."""
        if self._files is None:
            raise ConfigError(NO_HOME.format(name=self._parts.node.local.config.node.id.name))
        record = structs.replace(
            self._record(Request(RESTORE, "", 0.0), actor, even_so=False),
            result=outcome.result,
            sentence=outcome.sentence,
            took_s=outcome.took_s,
            files=outcome.files,
        )
        record = structs.replace(record, ended=record.begun)
        await self._write(record)
        self._keep(record)
        self._tell(record)
        return record

    def _record(self, request: Request, actor: Actor | None, *, even_so: bool) -> DrillRecord:
        begun = moment_text(self._parts.node.clock.wall())
        taken = {record.id for record in self.records}
        return DrillRecord(
            id=identifier(begun[:10], request.kind, request.subject, taken),
            kind=request.kind,
            subject=request.subject,
            node=self._parts.node.local.config.node.id.dotted,
            begun=begun,
            result=RUNNING,
            lasts_s=request.lasts_s,
            share=request.share if request.kind == BACKUP else 0.0,
            auto=request.auto,
            even_so=even_so,
            uid=None if actor is None else actor.uid,
            by="" if actor is None else printable(actor.by)[:TEXT_MOST],
            reason="" if actor is None else printable(actor.reason)[:TEXT_MOST],
        )

    async def _run(self, running: _Running) -> None:
        clock = self._parts.node.clock
        began_ms = clock.monotonic_ms()
        record = running.record
        try:
            if running.stop.reason:
                record = structs.replace(record, result=STOPPED, sentence=running.stop.reason)
            else:
                record = await running.drill.run(record, running.stop)
        except Exception as error:
            # No such fault is known. The node is as before all the same, and the drill has not passed.
            self._parts.node.emit(Failure(where="drill", error=type(error).__name__))
            record = structs.replace(record, result=FAILED, sentence="an internal error of pcgrelay ended it")
        finally:
            running.drill.undo()
            self._running = None
        took_s = (clock.monotonic_ms() - began_ms) / 1_000
        record = structs.replace(record, ended=moment_text(clock.wall()), took_s=took_s)
        self._keep(record)
        self._tell(record)
        # Nothing is awaited between the end of a drill and this: the next one may begin now, and its lock is its own.
        await self._changes.give_back(DRILL)
        try:
            await self._write(record)
        except PcgrelayError as error:
            self._unwritten(error)

    def _keep(self, record: DrillRecord) -> None:
        self.records = [*(each for each in self.records if each.id != record.id), record]
        while len(self.records) > RECORDS_MOST and self._files is not None:
            self._gone.append(self.records.pop(0))

    def _tell(self, record: DrillRecord) -> None:
        self._parts.node.emit(
            DrillEnded(
                id=record.id,
                kind=record.kind,
                subject=record.subject,
                result=record.result,
                sentence=record.sentence,
                took_s=record.took_s,
            )
        )

    async def _write(self, record: DrillRecord) -> None:
        """Keep a record; PcgrelayError if it cannot be written."""
        assert self._files is not None
        gone = list(self._gone)
        await self._parts.node.writes.run(self._files.write, record, gone)
        self._gone = [each for each in self._gone if each not in gone]
        self.reason = ""

    def _write_now(self, record: DrillRecord) -> None:
        """Keep a record before anything runs that a disk could hold up."""
        assert self._files is not None
        try:
            self._files.write(record)
        except PcgrelayError as error:
            self._unwritten(error)

    def _unwritten(self, error: PcgrelayError) -> None:
        self.reason = str(error)
        self._parts.node.emit(StateUnwritten(reason=str(error)))

    # -- by itself ---------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Once a second: begin what the node is to begin by itself."""
        node = self._parts.node
        if self._files is None or self._running is not None or self._beginning or node.draining:
            return
        now_ms = node.clock.monotonic_ms()
        if now_ms - node.started_ms < AUTO_FIRST_MS or (self._auto and not self._auto.done()):
            return
        if now_ms < self._auto_after_ms:
            return
        now = node.clock.wall()
        due = next((due for due in self.dues() if begins_now(due, now) and not was_tried_today(due, now)), None)
        if due is not None:
            self._auto = spawn(self._begin_by_itself(due), "drill", node.emit)

    async def _begin_by_itself(self, due: Due) -> None:
        settings = due.settings
        request = Request(due.kind, due.subject, settings.lasts_s, settings.share, auto=True)
        try:
            await self.begin(request, None)
            self._auto_waits = ""
        except (ChangeHeld, ChangeUnproved) as error:
            # Its turn comes when the other node is done; if not in this window, it is overdue and told so.
            self._auto_after_ms = self._parts.node.clock.monotonic_ms() + AUTO_AGAIN_MS
            if self._auto_waits != str(error):
                self._auto_waits = str(error)
                self._parts.node.emit(DrillRefused(kind=due.kind, subject=due.subject, reason=str(error)))
        except PcgrelayError as error:
            # It is kept as one that failed, so that it is not tried each second, and somebody sees it.
            record = self._record(request, None, even_so=False)
            record = structs.replace(record, result=FAILED, ended=record.begun, sentence=f"it could not begin: {error}")
            self._keep(record)
            self._parts.node.emit(DrillRefused(kind=due.kind, subject=due.subject, reason=str(error)))
            self._write_now(record)
