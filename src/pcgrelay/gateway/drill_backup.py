"""The drill of a back-up: for a while new streams take it, and what fails there is led on to the usual outlet.

First some connections of its own take both, so that a back-up that is dead is found out before an application goes
there. It is given up by the same odds as in a cut-over. Shares are published before and after it, and kept nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from msgspec import structs

from pcgrelay.cutover.alarm import Pair
from pcgrelay.cutover.histogram import from_counts
from pcgrelay.drills.backup import BackupWatch, drill_shares, outcome_sentence, usual_outlet
from pcgrelay.drills.record import FAILED, PASSED, STOPPED, DrillOutlet, DrillRecord
from pcgrelay.errors import RuleProblem, RunError
from pcgrelay.gateway.cutover_figures import (
    Attempts,
    Figures,
    Reading,
    counts_of,
    failed_of,
    later_of,
    setups_of,
    tried_of,
)
from pcgrelay.gateway.cutovers import SPEAKS
from pcgrelay.gateway.drill_parts import DrillParts, Plan, Request, Stop
from pcgrelay.gateway.governors import Decider, Governed
from pcgrelay.gateway.shadow_pairs import BURST_EVERY_S, BURST_GAP_S, BURST_PAIRS, PAIR_MOST_S
from pcgrelay.gateway.shadows import ShadowEnd, Talk
from pcgrelay.gateway.tasks import spawn
from pcgrelay.model import ServiceName, Transport
from pcgrelay.services.outlet_plan import Away, away_words
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported
from pcgrelay.services.tables import IMPORT, Row

LOOK_EVERY_S = 0.1
# Where no application asks, it is still known that the back-up works.
PAIR_EVERY_S = 10.0


class BackupDrill:
    """One such drill."""

    def __init__(self, parts: DrillParts, request: Request) -> None:
        """RunError: there is no such back-up, or nothing shows that it works. RuleProblem: it is to fall silent."""
        self._parts = parts
        self._request = request
        self._service = ServiceName.parse(request.subject)
        self._governed: Governed | None = None
        imported, outlets = self._found()
        self._base = self._wanted(imported, outlets)
        shares = {outlets.name_of(index): share for index, share in enumerate(outlets.plan.shares) if share}
        self._usual = usual_outlet(shares, "")
        _refuse_mute(imported, outlets)
        self._backup = self._first_backup(imported, outlets)
        self._shares = drill_shares(shares, self._backup, request.share)
        self._watch = BackupWatch(self._backup, self._usual)
        self._attempts = Attempts()
        self._first: dict[str, Figures] = {}
        self._readings: dict[str, Reading] = {}
        self._clients: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._burst_ms: int | None = None
        self._usual_median_ms: float | None = None

    # -- what it would touch -----------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """What it would touch. Nothing is lost: a set-up that fails is led on."""
        dealt = ", ".join(f"{share:g} % {name}" for name, share in self._shares.items())
        return Plan(
            f"For {self._request.lasts_s:g} s new streams of {self._service} take {dealt}; what fails on "
            f"{self._backup} is led on to {self._usual}, and open streams stay where they are."
        )

    def _found(self) -> tuple[Imported, ImportOutlets]:
        imported = next((each for each in self._parts.services.imports if each.settings.service == self._service), None)
        if imported is None or imported.outlets is None:
            raise RunError(f"{self._service} has one outlet, the gateway, and so no back-up; add a [[direct]] of it.")
        return imported, imported.outlets

    def _wanted(self, imported: Imported, outlets: ImportOutlets) -> Governed:
        """How streams were dealt if no drill ran."""
        held, self._governed = self._governed, None
        try:
            return self._parts.outlets.wanted(imported, outlets)
        finally:
            self._governed = held

    def _first_backup(self, imported: Imported, outlets: ImportOutlets) -> str:
        """The outlet that is tried next, if it is well, in support, and not to fall silent."""
        names = [outlets.name_of(index) for index in outlets.plan.order]
        well = [name for name in names if name != self._usual and self._away(outlets, name) is Away.NOT]
        cutover = self._parts.cutovers.get(self._service)
        left = [name for name in well if cutover is not None and cutover.moves_away_from(name)]
        if found := [name for name in well if name not in left]:
            return found[0]
        if left and cutover is not None:
            days = self._parts.cutovers.quiet_days(cutover.plan)
            raise RuleProblem(
                f"{self._service} has moved away from {left[0]}, and a drill would cost its {days} of "
                f"{cutover.plan.quiet_days} days of quiet; it has no other back-up that is well."
            )
        others = {name: self._away(outlets, name) for name in outlets.all_names if name != self._usual}
        known = imported.is_known
        why = "; ".join(f"{name}: {away_words(a, is_known=known) or 'out of support'}" for name, a in others.items())
        raise RunError(f"{self._service} has no back-up that is well and in support ({why}), so there is none to hold.")

    def _away(self, outlets: ImportOutlets, name: str) -> Away:
        index = outlets.index_of(name)
        return Away.REMOVED if index is None else outlets.away(index)

    # -- the drill ---------------------------------------------------------------------------------------------

    def governs(self, service: ServiceName) -> Governed | None:
        """How it deals the new streams of its service."""
        return self._governed if service == self._service else None

    def setup_failed(self, number: int, outlet: int, outcome: str, client: int) -> None:
        """A set-up of an application failed."""
        imported = next((each for each in self._parts.services.imports if each.number == number), None)
        if imported is None or imported.settings.service != self._service or imported.outlets is None:
            return
        if outcome in SPEAKS and imported.outlets.name_of(outlet) == self._backup:
            self._clients.add(client)
            self._wake.set()

    async def run(self, record: DrillRecord, stop: Stop) -> DrillRecord:
        """Hold it; all is as before when this returns. What came of it is in the record."""
        clock = self._parts.node.clock
        _, outlets = self._found()
        outlets.meter.look_again()
        self._first = {name: self._figures(outlets, name) for name in (self._backup, self._usual)}
        self._readings = {name: Reading(figures) for name, figures in self._first.items()}
        self._usual_median_ms = _milliseconds(self._first[self._usual], 0.5)
        try:
            await self._burst()
            problem = self._problem()
            if problem:
                return self._ended(record, FAILED, f"{problem} No application had gone there")
            if refusal := self._publish(self._dealt()):
                return self._ended(record, FAILED, f"the data plane does not take these shares ({refusal})")
            began_ms = clock.monotonic_ms()
            paired_ms = began_ms
            while clock.monotonic_ms() - began_ms < 1_000 * self._request.lasts_s:
                if await self._waited(stop):
                    return self._ended(record, STOPPED, stop.reason)
                if reason := self._changed():
                    return self._ended(record, STOPPED, reason)
                now_ms = clock.monotonic_ms()
                self._look(now_ms)
                if problem := self._problem():
                    return self._ended(record, FAILED, problem)
                if now_ms - paired_ms >= 1_000 * PAIR_EVERY_S:
                    paired_ms = now_ms
                    self._spawn_pair()
            self._look(clock.monotonic_ms())
            return self._over(record)
        finally:
            self.undo()

    def undo(self) -> None:
        """Deal new streams as before; may be called twice."""
        for task in self._tasks:
            task.cancel()
        if self._governed is not None:
            self._publish(None)

    def so_far(self, record: DrillRecord) -> DrillRecord:
        """The record with what is known of it now."""
        if not self._first:
            return record
        outlets = tuple(
            self._shown(name, role) for name, role in ((self._backup, "back-up"), (self._usual, "usual")) if name
        )
        return structs.replace(
            record, outlets=outlets, odds=self._watch.alarm.odds, usual_median_ms=self._usual_median_ms
        )

    def _dealt(self) -> Governed:
        # What the exporter's rules deny over the back-up is led on as well: nobody is to notice.
        return replace(self._base, shares=self._shares, leads_denied=True, exercise=0.0, decided_by=Decider.DRILL)

    def _publish(self, governed: Governed | None) -> str:
        """Have new streams dealt so at once; answers why the core did not take it."""
        self._governed = governed
        publisher = self._parts.publisher
        publisher.attempt()
        imported = next((each for each in self._parts.services.imports if each.settings.service == self._service), None)
        if publisher.has_failed or imported is None:
            return publisher.reason
        row = Row(IMPORT, imported.number, self._service.service.encode())
        return publisher.left_out.get(row, "")

    async def _waited(self, stop: Stop) -> bool:
        """Wait for the next look, or for a failure; whether to stop."""
        waiting = [asyncio.ensure_future(self._wake.wait()), asyncio.ensure_future(stop.within(LOOK_EVERY_S))]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
            self._wake.clear()
        return bool(stop.reason)

    def _changed(self) -> str:
        """Why the drill is of no use any more: somebody else has decided something."""
        try:
            imported, outlets = self._found()
        except RunError:
            return "the configuration has no back-up for it any more"
        if {self._away(outlets, name) for name in (self._backup, self._usual)} & {Away.REMOVED, Away.ENDED}:
            return "the configuration has one of its outlets no more"
        if self._wanted(imported, outlets) != self._base:
            return "its shares were to change meanwhile"
        return ""

    def _look(self, now_ms: int) -> None:
        """Look at what the meters have counted since the last look."""
        _, outlets = self._found()
        outlets.meter.look_again()
        for name, reading in self._readings.items():
            reading.look(self._figures(outlets, name))
        new, old = self._readings[self._backup], self._readings[self._usual]
        otherwise = self._request.share / 100
        share = self._attempts.share(now_ms / 1_000, tried_of(new.news[0]), tried_of(old.news[0]), otherwise)
        clients, self._clients = tuple(self._clients), set()
        failures = setups_of(new.news[0], old.news[0], share)
        self._watch.setups(failures, clients)
        self._watch.later(later_of(new.last, old.last, (new.news[0], old.news[0])), ())
        if failures.new and (self._burst_ms is None or now_ms - self._burst_ms >= 1_000 * BURST_EVERY_S):
            self._burst_ms = now_ms
            self._spawn(self._burst())

    def _problem(self) -> str:
        """Why to stop now: the back-up fails alone, or it is away."""
        imported, outlets = self._found()
        away = self._away(outlets, self._backup)
        if away is not Away.NOT:
            return f"{self._backup} is away: {away_words(away, is_known=imported.is_known)}"
        alarm = self._watch.alarm
        return alarm.sentence.rstrip(".") if alarm.is_raised else ""

    # -- connections of its own --------------------------------------------------------------------------------

    async def _burst(self) -> None:
        """Try both outlets some times in a row."""
        async with asyncio.TaskGroup() as group:
            for _ in range(BURST_PAIRS):
                group.create_task(self._pair())
                await self._parts.sleep(BURST_GAP_S)

    def _spawn_pair(self) -> None:
        self._spawn(self._pair())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = spawn(work, "shadow", self._parts.node.emit)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pair(self) -> None:
        new, old = await asyncio.gather(self._shadow(self._backup), self._shadow(self._usual))
        if new.says_something and old.says_something:
            self._watch.pair(Pair(new_failed=not new.is_good, old_failed=not old.is_good))
            if not new.is_good:
                self._wake.set()

    async def _shadow(self, name: str) -> ShadowEnd:
        try:
            imported, outlets = self._found()
        except RunError:
            return ShadowEnd("away")
        index = outlets.index_of(name)
        if index is None:
            return ShadowEnd("away")
        patience_s = outlets.plan.ways[index].patience_ms / 1_000 if index < len(outlets.plan.ways) else PAIR_MOST_S
        return await self._parts.cutovers.shadows.connect(imported, index, _talk(outlets), min(patience_s, PAIR_MOST_S))

    # -- what came of it ---------------------------------------------------------------------------------------

    def _ended(self, record: DrillRecord, result: str, sentence: str) -> DrillRecord:
        return structs.replace(self.so_far(record), result=result, sentence=sentence)

    def _over(self, record: DrillRecord) -> DrillRecord:
        found = self.so_far(record)
        backup, usual = found.outlets
        passed, sentence = outcome_sentence(backup.setups, backup.failed, self._watch.pairs_good, usual.failed)
        return structs.replace(found, result=PASSED if passed else FAILED, sentence=sentence)

    def _shown(self, name: str, role: str) -> DrillOutlet:
        last, first = self._readings[name].last, self._first[name]
        real, shadow = last[0].minus(first[0]), last[1].minus(first[1])
        return DrillOutlet(
            name=name,
            role=role,
            setups=real.up,
            failed=failed_of(real),
            moved=real.moved,
            lost=counts_of((real, shadow)).lost,
            shadows=shadow.up,
            shadows_failed=failed_of(shadow),
            setup_median_ms=_milliseconds((real, shadow), 0.5),
            setup_p95_ms=_milliseconds((real, shadow), 0.95),
            answer_median_ms=_quantile_ms(real.answer_us, 0.5),
        )

    def _figures(self, outlets: ImportOutlets, name: str) -> Figures:
        index = outlets.index_of(name)
        assert index is not None
        return outlets.meter.figures(index)


def _refuse_mute(imported: Imported, outlets: ImportOutlets) -> None:
    """Refuse a drill in which nothing would show whether datagrams arrive."""
    if imported.settings.transport is Transport.DATAGRAM and not _talk(outlets).is_exchange:
        raise RunError(
            f"{imported.settings.service} carries datagrams (udp), and only an answer shows that one has arrived; give "
            'a [[direct]] of it probe = "expect", with probe_send and probe_expect.'
        )


def _talk(outlets: ImportOutlets) -> Talk:
    """What a connection of its own says: the words of the probe of a direct outlet, which are the service's."""
    for direct in outlets.directs.values():
        if direct.settings.probe_expect:
            return Talk(direct.settings.probe_send, direct.settings.probe_expect)
    return Talk()


def _milliseconds(figures: Figures, share: float) -> float | None:
    """A quantile of set-up times; of connections of its own where no application asked."""
    real = _quantile_ms(figures[0].setup_us, share)
    return _quantile_ms(figures[1].setup_us, share) if real is None else real


def _quantile_ms(counts: dict[int, int], share: float) -> float | None:
    found = from_counts(counts).quantile(share)
    return None if found is None else round(found / 1_000, 3)
