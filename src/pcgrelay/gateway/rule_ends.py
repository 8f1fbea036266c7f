"""Last days of rules: what has ended is no longer applied within a second, told once, and announced days before.

A look compares the clock with the ends of the rules that are written. What has ended is taken out at once, without a
wait; only what returns, because the clock was set back, has to be opened again and so may have to wait. A reload that
is under way holds the lock, and ends with the rules that are in force then; meanwhile tables are published without
what has ended.

The clock is believed, as for certificates: one that is wrong ends rules, and one that is corrected gives them back.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Protocol

from pcgrelay.admin.rules import RuleStatus
from pcgrelay.clock import Clock
from pcgrelay.config import Config
from pcgrelay.errors import PcgrelayError
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.tasks import spawn
from pcgrelay.handover.node import PaperEndHandover
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import Emit, Failure
from pcgrelay.log.rule_events import RuleEnding, RuleExpired, RuleReturned, RuleUnreturned
from pcgrelay.policy.in_force import ONE_DAY, NamedRule, days_left, ending_rules, in_force

ANNOUNCED_DAYS = (30, 14, 7, 1)
NAMED_MOST = 8
RETRY_MS = 10_000

Known = tuple[str, datetime]


class Applied(Protocol):
    """The node, which applies what is in force."""

    async def prepare(self, config: Config) -> Prepared:
        """Open what a configuration needs. Raises PcgrelayError."""

    def keep(self, config: Config) -> None:
        """Apply a configuration that has nothing that is not there already."""

    def give_back(self, config: Config, prepared: Prepared) -> None:
        """Apply a configuration, with what was prepared for it."""

    def publish(self) -> None:
        """Publish the tables of services as the time allows."""


class RuleEnds:
    """The ends of the rules of one node. What had ended when the node was made is no news."""

    def __init__(self, local: LocalIdentity, applied: Applied, lock: asyncio.Lock, emit: Emit, clock: Clock) -> None:
        """lock: held by whatever replaces the configuration."""
        self._local = local
        self._applied = applied
        self._lock = lock
        self._emit = emit
        self._clock = clock
        self._written: Config | None = None  # of which `_rules` are
        self._rules: tuple[NamedRule, ...] = ()
        now = clock.wall()
        self._known: set[Known] = {(rule.name, rule.end) for rule in self._all()}
        self._ended: set[Known] = {(name, end) for name, end in self._known if now >= end}
        self._announced: dict[tuple[str, date], int] = {}  # by rule and last day: at how many days
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seen: tuple[NamedRule, ...] | None = None  # the rules that were last told of and announced,
        self._seen_at = self._due = now  # when, and when one of them is the next to change
        self._settled: tuple[object, ...] = ()  # for what the configuration in force was last found right
        self._is_partial = False  # whether an error came while what had ended was taken out
        self._again_ms = 0  # what returns is not tried before, on the monotonic clock

    def tick(self, within_s: float = 0.0) -> None:
        """Apply, tell and announce what is due. within_s: when the next tick is; an end before it is met exactly.

        Nothing is raised: whatever else is due in this second is no less due because an end could not be applied.
        """
        try:
            self._look(within_s)
        except Exception as error:
            self._emit(Failure(where="rules", error=type(error).__name__))

    def _look(self, within_s: float) -> None:
        now = self._clock.wall()
        rules = self._all()
        # A thousand rules are not gone through each second, but when one of them changes, or the clock was set back.
        if rules is not self._seen or not self._seen_at <= now < self._due:
            self._tell(rules, now)
            self._announce(rules, now)
            self._seen, self._seen_at, self._due = rules, now, _next_change(rules, now)
        self._apply(now)
        self._wake(now, within_s)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def status(self) -> tuple[RuleStatus, ...]:
        """Return the rules that have ended, or will within 30 days."""
        now = self._clock.wall()
        found = []
        for rule in self._all():
            left = days_left(rule, now)
            if left <= max(ANNOUNCED_DAYS):
                assert rule.paper.until is not None
                found.append(RuleStatus(rule=rule.name, until=rule.paper.until, days=max(left, 0)))
        return tuple(found)

    def _all(self) -> tuple[NamedRule, ...]:
        if self._written is not self._local.written:
            self._written = self._local.written
            self._rules = tuple(ending_rules(self._written))
        return self._rules

    # -- what is applied ---------------------------------------------------------------------------------------

    def _apply(self, now: datetime) -> None:
        local = self._local
        if self._lock.locked() or self._settled == (frozenset(self._ended), id(local.config), id(local.written)):
            return
        left = in_force(local.config, now)
        if left != local.config or self._is_partial:
            self._is_partial = True
            self._applied.keep(left)
            self._is_partial = False
        if local.narrowed(in_force(local.written, now)) == local.config:
            self._settled = frozenset(self._ended), id(local.config), id(local.written)
        elif self._clock.monotonic_ms() >= self._again_ms and (self._task is None or self._task.done()):
            self._task = spawn(self._return(), "rules", self._emit)

    async def _return(self) -> None:
        """Apply rules that are in force again."""
        async with self._lock:
            wanted = in_force(self._local.written, self._clock.wall())
            try:
                prepared = await self._applied.prepare(wanted)
                try:
                    prepared.listen()
                    # More may have ended meanwhile.
                    self._applied.give_back(in_force(wanted, self._clock.wall()), prepared)
                finally:
                    prepared.close()
            except PcgrelayError as error:
                self._again_ms = self._clock.monotonic_ms() + RETRY_MS
                self._emit(RuleUnreturned(reason=str(error)))

    def _wake(self, now: datetime, within_s: float) -> None:
        """Look at the very second at which the next rule ends, if the next tick is later."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        left = (self._due - now).total_seconds()
        if left < within_s:
            self._timer = asyncio.get_running_loop().call_later(left, self._at_an_end)

    def _at_an_end(self) -> None:
        # The two clocks may differ by a moment.
        self.tick(within_s=1.0)

    # -- what is told ------------------------------------------------------------------------------------------

    def _tell(self, rules: Iterable[NamedRule], now: datetime) -> None:
        known, ended = {}, set()
        for rule in rules:
            key = (rule.name, rule.end)
            known[key] = rule
            if now >= rule.end:
                ended.add(key)
        for key in sorted(ended - self._ended):
            if key in self._known:
                paper = known[key].paper
                self._emit(RuleExpired(rule=key[0], until=f"{paper.until}", reason=paper.reason, change=paper.change))
        for key in sorted((self._ended - ended) & known.keys()):
            self._emit(RuleReturned(rule=key[0], until=f"{known[key].paper.until}"))
        if ended & self._known != self._ended & known.keys():
            self._applied.publish()
        self._known, self._ended = set(known), ended

    def _announce(self, rules: Iterable[NamedRule], now: datetime) -> None:
        """Log the rules that have 30, 14, 7 or 1 days left, those of one day together."""
        due: dict[tuple[date, int], list[str]] = defaultdict(list)
        announced = {}
        for rule in rules:
            left = days_left(rule, now)
            step = min((days for days in ANNOUNCED_DAYS if left <= days), default=0)
            if left <= 0 or not step:
                continue
            assert rule.paper.until is not None
            key = (rule.name, rule.paper.until)
            announced[key] = step
            if self._announced.get(key) != step:
                due[rule.paper.until, left].append(rule.name)
        self._announced = announced
        for (until, left), names in sorted(due.items()):
            named = tuple(names[:NAMED_MOST])
            self._emit(RuleEnding(until=f"{until}", days=left, rules=named, further=len(names) - len(named)))

    # -- a hand-over -------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[PaperEndHandover, ...]:
        """Return what is known and told, for the new process."""
        return tuple(
            PaperEndHandover(
                rule=name,
                end=end,
                told=(name, end) in self._ended,
                announced=self._announced.get((name, (end - ONE_DAY).date()), 0),
            )
            for name, end in sorted(self._known)
        )

    def restore(self, handover: Iterable[PaperEndHandover]) -> None:
        """Go on from there: the next look tells what has ended since."""
        self._seen = None
        for each in handover:
            self._known.add((each.rule, each.end))
            (self._ended.add if each.told else self._ended.discard)((each.rule, each.end))
            if each.announced:
                self._announced[each.rule, (each.end - ONE_DAY).date()] = each.announced


def _next_change(rules: Iterable[NamedRule], now: datetime) -> datetime:
    """Return when the next of these rules ends, or has as few days left as are announced."""
    moments = (rule.end - days * ONE_DAY for rule in rules if rule.end > now for days in (0, *ANNOUNCED_DAYS))
    return min((moment for moment in moments if moment > now), default=datetime.max.replace(tzinfo=UTC))
