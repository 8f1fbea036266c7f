"""Links to some of the relays that a name of DNS leads to: one [[link]] with `discover`.

Two loops. One asks DNS whenever the last answer has lived long enough. The other keeps as many links as wanted: it
starts a dialled link (a slot) for each, and puts another relay in the place of one that cannot be reached.

    what DNS says            what is done
    records                  they are the relays; one that is missing from two answers, 30 s apart, is none any more
    no such name, no record  twice, 30 s apart: there is no relay, and the links end
    no answer, an error      nothing: all stays as it was

DNS is not trusted. It can withhold relays, or lead to nodes that then have to prove by their certificates that they are
relays whom the file admits. A link that works is never given up for one that might be better, but for two reasons: DNS
does not name its relay any more, or names others with a lower priority that answered two rounds of probes, a minute
apart. In both cases the new link comes first.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from pcgrelay.clock import Clock
from pcgrelay.config import Address, DiscoverSettings, PolicySettings
from pcgrelay.link.dialled import ALREADY_LINKED, DialledLink, FoundRelay
from pcgrelay.link.link import Link
from pcgrelay.link.relay_choice import choose_relays, own_order
from pcgrelay.log.discovery_events import DiscoveryChanged, DiscoveryFailed
from pcgrelay.log.events import Emit
from pcgrelay.log.throttle import Throttle
from pcgrelay.model import NodeId
from pcgrelay.net.backoff import STEADY_MS, backoff_ms
from pcgrelay.net.resolver import Outcome
from pcgrelay.net.sockets import Where, connect, reset
from pcgrelay.net.srv import RECORDS_MOST, TTL_LEAST_S, SrvAnswer, SrvRecord, ask_srv

AGAIN_MS = TTL_LEAST_S * 1000  # between two answers that withdraw something
PROBED_MOST = 8
PROBE_MS = 2_000
LOOK_S = 1.0  # what triggers no event is looked for this often
# A relay that failed is not tried again before the others for a time that grows with each failure.
HOLD_FIRST_MS = 1_000
HOLD_CAP_MS = 60_000
SILENT_CAP_MS = 10_000  # of one that did not answer a probe: it may be back at any time
BETTER_MS = 60_000  # between two rounds of probes of relays with a lower priority
BETTER_ROUNDS = 2
ASK_FIRST_MS = 1_000
ASK_CAP_MS = 30_000
FAILURE_LINE_MS = 60_000
UNANSWERED, ABSENT, TOO_MANY, UNUSABLE = (
    "discovery_unanswered", "discovery_absent", "discovery_too_many", "discovery_unusable",
)  # fmt: skip

Ask = Callable[[str], Awaitable[SrvAnswer]]
Probe = Callable[[Address, tuple[str, ...]], Awaitable[float | None]]

_random = random.SystemRandom()


async def probe_relay(address: Address, sources: tuple[str, ...]) -> float | None:
    """Return how long a TCP connection took, in milliseconds, or None: it could not be made."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    last: list[Where] = []
    try:
        sock = await connect(address, PROBE_MS, last, sources)
    except (OSError, TimeoutError):
        return None
    took_ms = (loop.time() - began) * 1000
    reset(sock)
    return took_ms


class Discovery:
    """The relays of one name, and the links to some of them."""

    def __init__(
        self,
        settings: DiscoverSettings,
        node: NodeId,
        *,
        begin: Callable[[DialledLink], None],
        is_named: Callable[[NodeId], bool],
        refuse_count: Callable[[str], None],
        emit: Emit,
        clock: Clock,
        ask: Ask | None = None,
        probe: Probe | None = None,
    ) -> None:
        """begin: starts to dial. is_named: whether the file names that neighbour for another link."""
        self.settings = settings
        self.slots: list[DialledLink] = []
        self.relays: dict[Address, SrvRecord] = {}  # those that DNS leads to, as far as it could tell
        self.answered: bool | None = None  # whether the last look-up was answered; None: there was none yet
        self._node = node
        self._begin = begin
        self._is_named = is_named
        self._refuse_count = refuse_count
        self._emit = emit
        self._clock = clock
        self._ask = ask or ask_srv
        self._probe = probe or probe_relay
        self._wake = asyncio.Event()
        self._again = asyncio.Event()  # DNS is asked now
        self._throttle = Throttle(FAILURE_LINE_MS)
        self._absent_ms: int | None = None  # since when there is no record
        self._missing_ms: dict[Address, int] = {}  # since when an address is not in the answer
        self._unanswered = 0
        self._failures: dict[Address, tuple[int, float]] = {}  # how many, and until when it is held back
        self._attempts = 0  # rounds of probes since there were as many links as wanted
        self._due_ms = 0.0
        self._better: dict[Address, int] = {}  # rounds of probes that a relay of a lower priority answered
        self._better_due_ms = 0
        self._moving: DialledLink | None = None  # to a relay of a lower priority

    @property
    def is_absent(self) -> bool:
        """Whether DNS says that there is no relay, for the first time or again."""
        return self._absent_ms is not None

    @property
    def up(self) -> int:
        """How many links are up."""
        return sum(slot.is_up for slot in self.slots)

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Return the two loops; they run until they are cancelled."""
        return [self._look_up(), self._keep()]

    def adopt(self, link: Link, address: Address, last: list[Where]) -> None:
        """Go on with a link of the process before: its relay counts as found until DNS has answered twice.

        last: where its host was.
        """
        self.relays.setdefault(address, SrvRecord(0, 0, address))
        slot = self._slot(address)
        slot.link, slot.seen, slot.last = link, link.peer, last

    def apply(self, settings: DiscoverSettings, policy: PolicySettings) -> None:
        """Apply what the file says now, and ask DNS. Links that the file does not allow any more end."""
        is_same_way = (settings.bearer, settings.sources) == (self.settings.bearer, self.settings.sources)
        self.settings = settings
        for slot in list(self.slots):
            slot.settings = FoundRelay(settings, self._address(slot))
            if not is_same_way or (slot.lives and slot.peer is not None and not settings.admits(slot.peer, policy)):
                self._drop(slot)
        self._wake.set()
        self._again.set()

    def end(self) -> None:
        """End all links: the file does not have this name any more."""
        for slot in list(self.slots):
            self._drop(slot)

    # -- what DNS says -----------------------------------------------------------------------------------------

    async def _look_up(self) -> None:
        while True:
            try:
                answer = await self._ask(self.settings.discover)
            except Exception:
                # An error of a library is no answer.
                answer = SrvAnswer(Outcome.UNKNOWN)
            self.take(answer)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_look_s(answer)):
                    await self._again.wait()
            self._again.clear()

    def _next_look_s(self, answer: SrvAnswer) -> float:
        if answer.outcome is Outcome.UNKNOWN:
            return (ASK_FIRST_MS + backoff_ms(self._unanswered, ASK_FIRST_MS, ASK_CAP_MS)) / 1000
        lives_s = TTL_LEAST_S if self._missing_ms else answer.lives_s
        # Nodes that were started together do not ask together for ever.
        return lives_s * _random.uniform(1.0, 1.1)

    def take(self, answer: SrvAnswer) -> None:
        """Note an answer of DNS."""
        now, before = self._clock.monotonic_ms(), set(self.relays)
        self.answered = answer.outcome is not Outcome.UNKNOWN
        self._unanswered = 0 if self.answered else self._unanswered + 1
        if answer.unusable:
            self._failed(UNUSABLE)
        if answer.outcome is Outcome.UNKNOWN:
            self._failed(UNANSWERED)
            return
        if answer.outcome is Outcome.ABSENT:
            self._failed(ABSENT)
            self._absent_ms = now if self._absent_ms is None else self._absent_ms
            if now - self._absent_ms >= AGAIN_MS:
                self.relays.clear()
                self._missing_ms.clear()
        else:
            self._absent_ms = None
            self._records_found(answer, now)
        self._failures = {each: held for each, held in self._failures.items() if each in self.relays}
        added, removed = len(set(self.relays) - before), len(before - set(self.relays))
        if added or removed:
            self._emit(
                DiscoveryChanged(discover=self.settings.discover, relays=len(self.relays), added=added, removed=removed)
            )
        self._wake.set()

    def _records_found(self, answer: SrvAnswer, now: int) -> None:
        records = own_order(answer.records, self._node.uri)
        if len(records) > RECORDS_MOST:
            self._failed(TOO_MANY)
        found = {record.address: record for record in records[:RECORDS_MOST]}
        for address in set(self.relays) - set(found):
            if now - self._missing_ms.setdefault(address, now) >= AGAIN_MS:
                del self.relays[address]
        self.relays.update(found)
        self._missing_ms = {
            address: since
            for address, since in self._missing_ms.items()
            if address in self.relays and address not in found
        }

    def _failed(self, reason: str) -> None:
        self._refuse_count(reason)
        suppressed = self._throttle.admit(reason, self._clock.monotonic_ms())
        if suppressed is not None:
            self._emit(DiscoveryFailed(discover=self.settings.discover, reason=reason, relays=len(self.relays)))

    # -- the links ---------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            await self.settle()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._wake.wait()
            self._wake.clear()

    async def settle(self) -> None:
        """Have as many links as wanted, as far as relays answer."""
        self._drop_surplus()
        now = self._clock.monotonic_ms()
        lacking = self._lacking()
        if lacking <= 0:
            self._attempts = 0
            await self._look_for_better(now)
            return
        candidates = self._candidates(now)
        failing = [slot for slot in self.slots if slot.has_failed]
        if not candidates:
            return
        if len(candidates) <= lacking and not failing:
            self._start([record.address for record in candidates])
            return
        if now < self._due_ms:
            return
        self._attempts += 1
        chosen = await self._answering(candidates[:PROBED_MOST], lacking)
        self._due_ms = self._clock.monotonic_ms() + backoff_ms(self._attempts)
        # Meanwhile anything may have changed.
        able = {record.address for record in self._candidates(self._clock.monotonic_ms())}
        chosen = [address for address in chosen if address in able][: max(0, self._lacking())]
        if not chosen and len(self.slots) < self.settings.links:
            # So that somebody sees why there is no link.
            chosen = [record.address for record in candidates if record.address in self.relays]
            chosen = chosen[: self.settings.links - len(self.slots)]
        self._start(chosen)

    def _lacking(self) -> int:
        """How many links are neither there to stay nor being tried for the first time."""
        kept = sum(
            self._address(slot) in self.relays and (slot.holds or not (slot.lives or slot.attempts))
            for slot in self.slots
            if slot is not self._moving
        )
        return self.settings.links - kept

    def _candidates(self, now: float) -> list[SrvRecord]:
        """The relays that may be dialled now and are not, in the order of this node."""
        taken = {self._address(slot) for slot in self.slots}
        return [
            record
            for record in own_order(self.relays.values(), self._node.uri)
            if record.address not in taken
            and record.address not in self._missing_ms
            and now >= self._failures.get(record.address, (0, 0.0))[1]
        ]

    async def _answering(self, records: list[SrvRecord], number: int) -> list[Address]:
        """Probe some relays; return the addresses of the best that answered."""
        sources = self.settings.sources
        probed = await asyncio.gather(*(self._probe(record.address, sources) for record in records))
        times = {record.address: ms for record, ms in zip(records, probed, strict=True) if ms is not None}
        for record in records:
            # So that the next round is for others.
            if record.address not in times:
                self._hold_back(record.address, SILENT_CAP_MS)
        return choose_relays(records, times, number)

    def _start(self, addresses: list[Address]) -> None:
        """Dial these; each takes the place of a link that has failed, if there is one."""
        for address in addresses:
            failing = next((slot for slot in self.slots if slot.has_failed), None)
            if failing is not None:
                self._drop(failing)
            self._begin(self._slot(address))

    def _drop_surplus(self) -> None:
        """Drop what is not wanted any more, once enough links are up."""
        self._look_at_move()
        now = self._clock.monotonic_ms()
        for slot in self.slots:
            if slot.is_up and slot.link is not None and now - slot.link.opened_ms > STEADY_MS:
                self._failures.pop(self._address(slot), None)
        leaving = [slot for slot in self.slots if self._address(slot) not in self.relays]
        staying = [slot for slot in self.slots if slot.is_up and slot not in leaving]
        is_enough = len(staying) >= min(self.settings.links, len(self.relays))
        for slot in leaving:
            if is_enough or not slot.lives:
                self._drop(slot)
        if len(staying) < self.settings.links:
            return
        order = {record.address: place for place, record in enumerate(own_order(self.relays.values(), self._node.uri))}
        staying.sort(key=lambda slot: order[self._address(slot)])
        # A link that works is not given up for another place in the order, only for another priority.
        staying.sort(key=lambda slot: self.relays[self._address(slot)].priority)
        for slot in staying[self.settings.links :]:
            self._drop(slot)
        for slot in list(self.slots):
            if slot not in staying and slot is not self._moving and not (slot.lives and not slot.has_dead_lanes):
                self._drop(slot)

    async def _look_for_better(self, now: int) -> None:
        """Once a minute, probe relays of a lower priority than one that is linked; move to one that is well."""
        up = [slot for slot in self.slots if slot.is_up]
        if self._moving is not None or len(up) < self.settings.links or now < self._better_due_ms:
            return
        linked = [self.relays[self._address(slot)] for slot in up if self._address(slot) in self.relays]
        worst = max((record.priority for record in linked), default=0)
        better = [record for record in self._candidates(now) if record.priority < worst]
        if not better:
            self._better.clear()
            return
        self._better_due_ms = now + BETTER_MS
        chosen = await self._answering(better[:PROBED_MOST], 1)
        self._better = {address: self._better.get(address, 0) + 1 for address in chosen}
        able = {record.address for record in self._candidates(now)}
        for address, rounds in self._better.items():
            if rounds >= BETTER_ROUNDS and address in able and self._moving is None:
                self._moving = self._slot(address)
                self._begin(self._moving)

    def _look_at_move(self) -> None:
        """End the move to a relay of a lower priority once it is up, or has failed."""
        moving = self._moving
        if moving is not None and (moving.is_up or moving.has_failed or moving not in self.slots):
            self._moving = None
            self._better.clear()
            if moving.has_failed:
                self._drop(moving)

    def _slot(self, address: Address) -> DialledLink:
        slot = DialledLink(FoundRelay(self.settings, address), changed=self._wake.set)
        slot.is_taken = lambda peer: self._is_taken(peer, slot)
        self.slots.append(slot)
        return slot

    def _is_taken(self, peer: NodeId, mine: DialledLink) -> bool:
        """Whether that relay is linked by another slot that stays, or is to be by the file."""
        return self._is_named(peer) or any(
            slot is not mine and slot.holds and slot.peer == peer and self._address(slot) in self.relays
            for slot in self.slots
        )

    def _drop(self, slot: DialledLink) -> None:
        if slot not in self.slots:
            return
        self.slots.remove(slot)
        if slot.has_failed:
            self._hold_back(self._address(slot), HOLD_CAP_MS, at_once=slot.reason == ALREADY_LINKED)
        slot.drop("removed")

    def _hold_back(self, address: Address, cap_ms: int, *, at_once: bool = False) -> None:
        """Try others before this one for a time. at_once: for the longest, for it will not be otherwise soon."""
        if address not in self.relays:
            return
        count = self._failures.get(address, (0, 0.0))[0] + 1
        hold_ms = cap_ms if at_once else min(cap_ms, HOLD_FIRST_MS * 2 ** (count - 1))
        self._failures[address] = (min(count, 16), self._clock.monotonic_ms() + hold_ms)

    @staticmethod
    def _address(slot: DialledLink) -> Address:
        return slot.settings.address
