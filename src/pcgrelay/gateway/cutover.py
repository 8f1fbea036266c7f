"""One cut-over of a running edge: what is seen of its outlets goes to the canary, and what that answers is in force.

Forward is written first and published then. Backward is published first and written then. While a step forward is being
written, looks go on, and one that leads back wins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime

from msgspec import structs

from pcgrelay.cutover import canary
from pcgrelay.cutover.alarm import Pair
from pcgrelay.cutover.canary import Answer, Facts, Now
from pcgrelay.cutover.phases import UNDER_WAY, Decision, Phase, Progress, after_upgrade
from pcgrelay.cutover.plan import Plan
from pcgrelay.cutover.requests import Request
from pcgrelay.cutover.samples import Outlet
from pcgrelay.cutover.shared import SharedPart
from pcgrelay.cutover.state import Counts, CutoverState, KeptDecision
from pcgrelay.errors import PcgrelayError
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover_figures import (
    NOTHING,
    Attempts,
    Figures,
    Reading,
    counts_of,
    ended_here,
    later_of,
    outlet_of,
    setups_of,
    tried_of,
)
from pcgrelay.gateway.cutover_looks import Forward, Look, Seen
from pcgrelay.gateway.cutover_points import PointMaker
from pcgrelay.gateway.cutover_sharing import FOLLOW_AGAIN_S, CutoverSharing
from pcgrelay.gateway.governors import Governed
from pcgrelay.services.outlet_plan import Away
from pcgrelay.services.outlets import ImportOutlets
from pcgrelay.services.services import Imported

# A look at the whole is written at least so often.
WRITE_EVERY_S = 60.0
# A gateway whose session is being set up is waited for, once the service has arrived there.
WAIT_ARRIVED_MS = 2_000
# So lately what it falls back to has to have carried something to be said to succeed.
SUCCESS_FRESH_S = 5.0
CLIENTS_MOST = 64

Write = Callable[[CutoverState], None]


class Cutover:
    """One cut-over. It is looked at a few times a second."""

    def __init__(self, plan: Plan, state: CutoverState, imported: Imported | None, probe_interval_s: float) -> None:
        self.plan = plan
        self.state = state
        self.imported = imported
        self.shares: dict[str, float] = {}  # in percent, as the canary answered last
        self.reason = ""  # why it could not be written
        self.written: CutoverState | None = None
        self.pairs: list[Pair] = []  # since the last look
        self.burst_wanted = False
        self.oldest_s: float | None = None
        self.sharing: CutoverSharing | None = None  # with the other edges of the organisation
        self._probe_interval_s = probe_interval_s
        self._readings: dict[str, Reading] = {}
        self._attempts = Attempts()
        self._clients: set[int] = set()  # hashes, since the last look: of set-ups that failed
        self._later_clients: set[int] = set()  # and of streams that broke
        self._back_at: dict[str, tuple[float, bool]] = {}  # when an outlet was last seen to succeed or to fail
        self._unacknowledged_since_s: float | None = None
        self._points = PointMaker(state.points)
        self._stepping: asyncio.Future[None] | None = None
        self._nowhere_epoch = -1  # the shared decision to go back for which there was nowhere to go

    # -- what is there -----------------------------------------------------------------------------------------

    @property
    def service(self) -> str:
        return self.plan.service

    @property
    def progress(self) -> Progress:
        return self.state.progress

    @property
    def phase(self) -> Phase:
        return self.state.progress.phase

    @property
    def is_under_way(self) -> bool:
        return self.phase in UNDER_WAY

    @property
    def lost(self) -> int:
        """Applications that were refused because no outlet was left."""
        return sum(each.lost for each in self.state.counts.values())

    @property
    def is_behind(self) -> bool:
        """Whether the file has not what holds."""
        return self.written is None or self.written.progress.phase is not self.phase or self.reason != ""

    @property
    def outlets(self) -> ImportOutlets | None:
        return None if self.imported is None else self.imported.outlets

    @property
    def leads_to(self) -> str:
        """The outlet that new streams are led to in the end: the new one, or after a return where they went back."""
        return (self.progress.back_on or self.plan.old) if self.phase is Phase.BACK else self.plan.new

    @property
    def is_held(self) -> bool:
        """Whether the new outlet has no share for now."""
        return self.progress.hold.is_held or self.progress.suspected_at_s is not None

    def moves_away_from(self, outlet: str) -> bool:
        """Whether it has moved away from an outlet, which then is to fall silent."""
        return outlet == self.plan.old and self.phase in (Phase.ARRIVED, Phase.QUIET, Phase.RETIRED)

    def governed(self) -> Governed | None:
        """What it decides of new streams; nothing while it has not begun."""
        phase = self.phase
        if phase is Phase.PLANNED:
            return None
        has_arrived = phase in (Phase.ARRIVED, Phase.QUIET)
        last = (self.plan.old,) if has_arrived else (self.plan.new,) if phase is Phase.BACK else ()
        return Governed(
            shares={name: share for name, share in self.shares.items() if share},
            last=last,
            leads_denied=not has_arrived and phase is not Phase.RETIRED,
            wait_ms=WAIT_ARRIVED_MS if has_arrived else 0,
            without=frozenset({self.plan.old}) if phase is Phase.RETIRED else frozenset(),
            # It is over, and whoever has another outlet beside may use it.
            yields_since=self.state.retired if phase is Phase.RETIRED else "",
        )

    def active_index(self, outlet: str) -> int | None:
        """The index of an outlet with streams that are open; nothing if there are none."""
        index = None if self.outlets is None else self.outlets.index_of(outlet)
        if self.outlets is None or index is None or self.outlets.meter.figures(index)[0].active <= 0:
            return None
        return index

    # -- what is seen ------------------------------------------------------------------------------------------

    def share(self, sharing: CutoverSharing | None) -> None:
        """Share it with other edges, or go by itself from now on; what was known of the others is kept."""
        self.state = structs.replace(self.state, shared=self._shared_part())
        self.sharing = sharing

    def begin(self) -> None:
        """Count from the meters as they are."""
        self._readings = {name: Reading(figures) for name, figures in self._figures()}

    def resume_shares(self) -> None:
        """Have the shares that hold as it was kept, until the first look."""
        self.shares = canary.standing_shares(self.plan, self.progress)

    def waited(self, elapsed_us: int) -> None:
        """A stream of an application was kept so long by an attempt that failed."""
        if elapsed_us // 1_000 > self.state.waited_ms and self.is_under_way:
            self.state = structs.replace(self.state, waited_ms=elapsed_us // 1_000)

    def setup_failed(self, outlet: str, client: int) -> None:
        """A set-up of an application failed on an outlet, and that speaks against it."""
        if outlet == self.plan.new and self.is_under_way:
            self.burst_wanted = True
            if len(self._clients) < CLIENTS_MOST:
                self._clients.add(client)

    def stream_broke(self, outlet: str, client: int) -> None:
        """A stream of an application ended early, or was cut."""
        if outlet == self.plan.new and self.is_under_way and len(self._later_clients) < CLIENTS_MOST:
            self._later_clients.add(client)

    def seen(self, outlet: str, now_s: float, is_good: bool) -> None:
        """An outlet was seen to succeed or to fail."""
        self._back_at[outlet] = now_s, is_good

    def needs_back(self, now_s: float) -> bool:
        """Whether nobody knows if what it would fall back to succeeds, and a decision rests on it."""
        hold = self.progress.hold
        is_asked = hold.is_held or hold.away_since_s is not None or self.progress.suspected_at_s is not None
        return is_asked and self._last_good(now_s) is None

    def _last_good(self, now_s: float) -> bool | None:
        """Whether it succeeds, seen of late; of an absence, what was seen since that began."""
        seen = [self._back_at[name] for name in self.plan.back if name in self._back_at]
        since_s = self.progress.hold.away_since_s
        fresh = [good for at, good in seen if now_s - at <= SUCCESS_FRESH_S and (since_s is None or at > since_s)]
        return any(fresh) if fresh else None

    def _both_fail(self, now_s: float) -> bool:
        """Whether all set-ups of late failed on both outlets: then their target is down."""
        seen = [self._back_at.get(name) for name in (self.plan.new, self.plan.old)]
        return all(each is not None and not each[1] and now_s - each[0] <= SUCCESS_FRESH_S for each in seen)

    def _figures(self) -> Iterable[tuple[str, Figures]]:
        outlets = self.outlets
        if outlets is None:
            return
        for name in dict.fromkeys((self.plan.new, self.plan.old, *self.plan.back)):
            index = outlets.index_of(name)
            if index is not None:
                yield name, outlets.meter.figures(index)

    def count(self, now_s: float) -> None:
        """Add what the meters have counted since the last look."""
        sums, counts, common = dict(self.state.sums), dict(self.state.counts), self.state.common
        for name, figures in self._figures():
            reading = self._readings.setdefault(name, Reading(figures))
            reading.look(figures)
            if reading.news == (NOTHING, NOTHING):
                continue
            sums[name] = sums.get(name, Outlet(name)) + outlet_of(name, reading.news)
            counts[name] = counts.get(name, Counts()).plus(counts_of(reading.news))
            if reading.news[0].up or reading.news[1].up:
                self.seen(name, now_s, True)
            elif tried_of(reading.news[0]):
                self.seen(name, now_s, False)
            self._points.count(name, reading.news)
            if name in (self.plan.new, self.plan.old):
                common += ended_here(reading.news[0])
        self.state = structs.replace(self.state, sums=sums, counts=counts, common=common)

    def _news(self, name: str) -> tuple[Figures, Figures]:
        reading = self._readings.get(name)
        return ((NOTHING, NOTHING), (NOTHING, NOTHING)) if reading is None else (reading.last, reading.news)

    def well(self, is_starting: bool) -> frozenset[str]:
        """The outlets that can carry new streams now. A node that is starting gives the gateway its time."""
        outlets = self.outlets
        if outlets is None:
            return frozenset()
        found = set()
        for name in outlets.all_names:
            index = outlets.index_of(name)
            away = Away.NOT if index is None else outlets.away(index)
            if away is Away.NOT or (is_starting and index == 0 and away in (Away.WAITING, Away.DOWN, Away.UNCLEARED)):
                found.add(name)
        return frozenset(found)

    def supported_until(self) -> dict[str, date | None]:
        """The last day of each outlet's support; nothing: no end is known."""
        outlets = self.outlets
        if outlets is None:
            return {}
        ends: dict[str, date | None] = dict.fromkeys(outlets.all_names)
        for name, direct in outlets.directs.items():
            ends[name] = direct.bearer.supported_until
        return ends

    def _facts(self, now_s: float, seen: Seen, request: Request | None) -> Facts:
        new, old = self.plan.new, self.plan.old
        compared = self.compared()
        (new_last, new_news), (old_last, old_news) = self._news(new), self._news(old)
        share = self._attempts.share(now_s, tried_of(new_news[0]), tried_of(old_news[0]), self._dealt())
        clients, self._clients = tuple(self._clients), set()
        later_clients, self._later_clients = tuple(self._later_clients), set()
        pairs, self.pairs = tuple(self.pairs), []
        found = Facts(
            new=compared[0],
            old=compared[1],
            well=self.well(seen.is_starting),
            supported_until=self.supported_until(),
            setups=setups_of(new_news[0], old_news[0], share),
            setup_clients=clients,
            later=later_of(new_last, old_last, (new_news[0], old_news[0])),
            later_clients=later_clients,
            pairs=pairs,
            back_succeeds=self._last_good(now_s),
            both_fail=self._both_fail(now_s),
            is_unacknowledged=self._is_unacknowledged(now_s, seen.retained_bytes),
            probe_interval_s=self._probe_interval_s,
            is_quiet=seen.not_quiet is None,
            stray=seen.not_quiet,
            request=request,
        )
        return found if self.sharing is None else self.sharing.facts(found, now_s)

    def _dealt(self) -> float:
        return min(max(self.shares.get(self.plan.new, 50.0) / 100, 0.0), 1.0)

    def _is_unacknowledged(self, now_s: float, retained_bytes: int) -> bool:
        """Whether frames of the chosen session lie there for longer than a pair may take."""
        if not retained_bytes:
            self._unacknowledged_since_s = None
            return False
        if self._unacknowledged_since_s is None:
            self._unacknowledged_since_s = now_s
        return now_s - self._unacknowledged_since_s >= self._probe_interval_s / 2

    # -- a look ------------------------------------------------------------------------------------------------

    def look(self, now: Now, seen: Seen, request: Request | None = None, actor: Actor | None = None) -> Look:
        """One look. What leads back, or changes no share, is in force at once; what leads forward is to be written."""
        self.count(now.monotonic_s)
        before = self.shares
        facts, phase = self._facts(now.monotonic_s, seen, request), self.phase
        answer = canary.tick(self.plan, self.progress, facts, now)
        is_led = False
        if self.sharing is not None and request is None:
            answer, is_led = self._led(self.sharing, answer, facts, now)
        if answer.is_forward and self._stepping is not None:
            # Another step forward is being written; there is one at a time.
            answer = Answer(answer.otherwise or self.progress, before, ())
        if answer.is_forward:
            self.state = structs.replace(self.state, progress=answer.otherwise or self.progress)
            forward = self._forward(answer, now, actor, is_led=is_led)
            return Look(answer, forward, self._kept(answer, now, actor))
        decisions = self._take(answer, now, actor)
        if self.sharing is not None and self.phase is not phase and not is_led:
            self.sharing.narrowed(self.phase, self.state)
        return Look(answer, None, decisions)

    def _led(self, sharing: CutoverSharing, answer: Answer, facts: Facts, now: Now) -> tuple[Answer, bool]:
        """The answer with what another edge decided, and whether that changes it."""
        other = sharing.followed(now.monotonic_s)
        went_back = answer.progress.phase is Phase.BACK and self.phase is not Phase.BACK
        if other is None or went_back or answer.is_forward or canary.is_followed(answer.progress, other):
            return answer, False
        if self._nowhere_epoch == sharing.known.epoch:
            # It was told once that there is nowhere to go.
            answer = structs.replace(answer, progress=structs.replace(answer.progress, is_nowhere=True))
        led = canary.follow(self.plan, answer.progress, facts, now, other)
        if led.progress.is_nowhere:
            self._nowhere_epoch = sharing.known.epoch
        return structs.replace(led, decisions=(*answer.decisions, *led.decisions)), True

    def _take(self, answer: Answer, now: Now, actor: Actor | None) -> tuple[KeptDecision, ...]:
        """Have an answer in force."""
        decisions = self._kept(answer, now, actor)
        self.state = self._after(answer.progress, decisions, now)
        self.shares = answer.shares
        point = self._points.due(now.wall, self.shares)
        if point is not None:
            self.state = self.state.with_point(point)
        return decisions

    def _after(self, progress: Progress, decisions: Iterable[KeptDecision], now: Now) -> CutoverState:
        state, last = self.state, self.state.progress
        at = moment(now.wall)
        for decision in decisions:
            state = state.with_decision(decision)
        changes: dict[str, str] = {}
        if progress.phase is not last.phase or progress.step != last.step:
            changes["since"] = at
        if progress.phase is not last.phase:
            if progress.phase is Phase.ARRIVED and last.phase is not Phase.QUIET:
                changes["arrived"] = at
            if progress.phase in (Phase.SOAKING, Phase.BACK):
                changes["arrived"] = ""
            if progress.phase is Phase.RETIRED:
                changes["retired"] = at
            if not state.began and progress.phase is Phase.SOAKING:
                changes["began"] = at
        return structs.replace(state, progress=progress, **changes)

    def _kept(self, answer: Answer, now: Now, actor: Actor | None) -> tuple[KeptDecision, ...]:
        progress = answer.progress
        return tuple(self._decision(each, progress, answer.shares, now, actor) for each in answer.decisions)

    def _decision(
        self, decision: Decision, progress: Progress, shares: dict[str, float], now: Now, actor: Actor | None
    ) -> KeptDecision:
        return KeptDecision(
            at=moment(now.wall),
            what=decision.what,
            sentence=decision.sentence,
            phase=progress.phase,
            step=progress.step,
            shares=shares,
            uid=None if actor is None else actor.uid,
            by="" if actor is None else actor.by,
            reason="" if actor is None else actor.reason,
            verdict=decision.verdict,
        )

    # -- a step forward ----------------------------------------------------------------------------------------

    def _forward(self, answer: Answer, now: Now, actor: Actor | None, *, is_led: bool) -> Forward:
        phase, step = self.progress.phase, self.progress.step
        decisions = self._kept(answer, now, actor)
        state = self._after(after_upgrade(answer.progress), decisions, now)
        self._stepping = asyncio.get_running_loop().create_future()
        return Forward(answer, state, phase, step, now, actor, is_led=is_led)

    def settle(self, forward: Forward, error: PcgrelayError | None) -> tuple[KeptDecision, ...]:
        """After the attempt to write a step forward: have it in force, unless something has led back meanwhile."""
        stepping, self._stepping = self._stepping, None
        if stepping is not None and not stepping.done():
            stepping.set_result(None)
        if (self.phase, self.progress.step) != (forward.phase, forward.step):
            return ()
        if error is not None:
            self.reason = str(error)
            if self.sharing is not None and forward.is_led:
                self.sharing.follow_again_s = forward.now.monotonic_s + FOLLOW_AGAIN_S
            answer = canary.settle(Answer(self.progress, self.shares), forward.answer, was_written=False)
            return self._take(structs.replace(answer, progress=self.progress), forward.now, forward.actor)
        progress = forward.answer.progress
        if forward.phase in UNDER_WAY:
            # What was seen meanwhile counts.
            progress = structs.replace(
                progress, evidence=self.progress.evidence, checkpoints=self.progress.checkpoints,
                ticked_s=self.progress.ticked_s, clock_offset_s=self.progress.clock_offset_s,
            )  # fmt: skip
        return self._take(structs.replace(forward.answer, progress=progress), forward.now, forward.actor)

    async def stepped(self) -> None:
        """Wait until no step forward is being written."""
        while self._stepping is not None:
            await asyncio.shield(self._stepping)

    def compared(self) -> tuple[Outlet, Outlet]:
        """The sums that are compared, of the new outlet and the old one: those of all edges that share it."""
        new, old = self.state.compared(self.plan.new), self.state.compared(self.plan.old)
        return (new, old) if self.sharing is None else self.sharing.with_others(new, old)

    @property
    def is_stepping(self) -> bool:
        return self._stepping is not None

    # -- what is kept ------------------------------------------------------------------------------------------

    def to_keep(self) -> CutoverState:
        """What is to be written now."""
        return structs.replace(self.state, progress=after_upgrade(self.progress), shared=self._shared_part())

    def _shared_part(self) -> SharedPart | None:
        return self.state.shared if self.sharing is None else self.sharing.part()

    def to_hand(self) -> CutoverState:
        """What the process after this one is given. It has the same monotonic clock, so it waits after a jump too."""
        progress = structs.replace(after_upgrade(self.progress), jumped_at_s=self.progress.jumped_at_s)
        return structs.replace(self.state, progress=progress, shared=self._shared_part())


def moment(wall: datetime) -> str:
    """A moment as it is kept: UTC, to the millisecond."""
    return f"{wall.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S')}.{wall.microsecond // 1000:03}Z"


def date_of(text: str) -> date | None:
    """The day of a moment that was kept; nothing for none."""
    return date.fromisoformat(text[:10]) if text else None
