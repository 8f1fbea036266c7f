"""The drills of a loss: the links with a neighbour, or over a bearer, end as if their network had been lost.

Nothing is said to the neighbour, and for the time no such link is let up. Sessions find another path as they would in
earnest; how long that takes is what the drill is for.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from pcgrelay.drills.loss import LossWatch, SessionFact, pause_figures
from pcgrelay.drills.record import FAILED, PASSED, RELAY_LOSS, STOPPED, DrillRecord
from pcgrelay.errors import RunError
from pcgrelay.gateway.drill_parts import DrillParts, Plan, Request, Stop
from pcgrelay.gateway.governors import Governed
from pcgrelay.link.bar import Bar
from pcgrelay.link.link import Link, LinkState
from pcgrelay.model import NameProblem, NodeId, ServiceName
from pcgrelay.services.counts import ServiceCounts
from pcgrelay.services.outlet_plan import Away
from pcgrelay.services.services import Imported
from pcgrelay.session.session import Session, State

LOOK_EVERY_S = 0.05
# A neighbour dials again within its back-off, which is 3 s at most.
BACK_MOST_S = 30.0


class LossDrill:
    """One such drill."""

    def __init__(self, parts: DrillParts, request: Request) -> None:
        """RunError: there is no such link."""
        self._parts = parts
        self._request = request
        self._table = parts.node.link_table
        self._bar = self._barred()
        if not self._up():
            known = self._known()
            there = f"there are links with: {', '.join(known)}" if known else "there is no link at all"
            if request.kind != RELAY_LOSS:
                there = f"there are: {', '.join(known)}" if known else "there is no link at all"
            noun = "with" if request.kind == RELAY_LOSS else "over"
            raise RunError(f"No link {noun} {request.subject} is up here; {there}.")
        self._gather()
        self._watch: LossWatch | None = None
        self._opened, self._refused = 0, 0
        self._back_ms: int | None = None

    def _gather(self) -> None:
        """Look at what there is now."""
        self._links = [link for link in self._table.links.values() if self._is_of(link)]
        self._before = len(self._up())
        self._lanes = sum(len(link.lanes_up) for link in self._links)
        self._sessions = self._over()
        figures = self._parts.node.plane.sessions()
        self._streams = {
            session.number: figures.get(session.number, {}).get("streams", 0) for session in self._sessions
        }

    # -- what it would touch -----------------------------------------------------------------------------------

    def plan(self) -> Plan:
        """What it would touch, and what might be lost."""
        total = sum(self._streams.values())
        stranded = {session: self._streams[session.number] for session in self._sessions if not self._other(session)}
        without = sum(stranded.values())
        ways = sorted({other for session in self._sessions if (other := self._other(session))})
        through = f" ({', '.join(ways)})" if ways else ""
        sentence = (
            f"This closes {_count(self._lanes, 'lane')} with {_count(total, 'stream')}; "
            f"{total - without:,} of {total:,} have another way{through}."
        )
        losses = []
        if without:
            peers = ", ".join(sorted({session.key.edge.dotted for session, count in stranded.items() if count}))
            have = "has" if without == 1 else "have"
            losses.append(f"{_count(without, 'stream')} {have} no other way: to or from {peers}")
        names = [str(each.settings.service) for each in self._parts.services.imports if self._is_stranded(each)]
        if names:
            losses.append(f"new streams of {', '.join(names)} would have nowhere to go")
        if self._parts.services.exports and not any(not self._is_of(link) for link in self._table.usable()):
            losses.append("no other organisation could reach what is exported here, for no other link is up")
        return Plan(sentence, tuple(losses))

    def _barred(self) -> Bar:
        request = self._request
        if request.kind != RELAY_LOSS:
            return Bar(bearer=request.subject)
        realm = self._parts.node.local.config.node.id.realm
        try:
            return Bar(peer=NodeId.from_dotted(request.subject, realm))
        except NameProblem as problem:
            raise RunError(f"{problem}; write for example relay-1.hub.example.") from None

    def _is_of(self, link: Link) -> bool:
        return self._bar.is_of(link.peer, link.bearer)

    def _up(self) -> list[Link]:
        return [link for link in self._table.links.values() if self._is_of(link) and link.state is LinkState.UP]

    def _known(self) -> list[str]:
        links: Iterable[Link] = self._table.links.values()
        if self._request.kind == RELAY_LOSS:
            return sorted({link.peer.dotted for link in links})
        return sorted({link.bearer for link in links})

    def _over(self) -> list[Session]:
        return [
            session
            for session in self._parts.sessions
            if session.path is not None
            and session.state in (State.UP, State.STALLED)
            and self._is_of(session.path.link)
        ]

    def _other(self, session: Session) -> str:
        """The neighbour over which a session would go on; nothing if there is none."""
        link = self._parts.node.exchange.route(
            session.key.edge, lambda link: not self._is_of(link), session.key.marking
        )
        return "" if link is None else f"{link.peer.dotted} over {link.bearer}"

    def _is_stranded(self, imported: Imported) -> bool:
        """Whether new streams of an import get through now, and would not then."""
        outlets = imported.outlets
        if outlets is not None and any(index and outlets.away(index) is Away.NOT for index in outlets.plan.order):
            return False
        exchange = self._parts.node.exchange
        far = [(exporter.edge, exporter.marking) for exporter in imported.exporters]
        return any(exchange.route(edge, lambda link: True, marking) for edge, marking in far) and not any(
            exchange.route(edge, lambda link: not self._is_of(link), marking) for edge, marking in far
        )

    # -- the drill ---------------------------------------------------------------------------------------------

    async def run(self, record: DrillRecord, stop: Stop) -> DrillRecord:
        """Hold it; all is as before when this returns. What came of it is in the record."""
        clock = self._parts.node.clock
        self._gather()
        began_ms = clock.monotonic_ms()
        watched = {s.number: (s.key.edge.dotted, self._streams[s.number]) for s in self._sessions}
        watch = self._watch = LossWatch(watched, began_ms)
        opened, refused = self._counts()
        self._table.bar = self._bar
        for link in self._links:
            link.sever("drill")
        problem = ""
        while not problem and clock.monotonic_ms() - began_ms < 1_000 * self._request.lasts_s:
            if await stop.within(LOOK_EVERY_S):
                break
            now_ms = clock.monotonic_ms()
            watch.look(self._facts(), now_ms)
            problem = "" if self._request.even_so else watch.problem(now_ms)
        lasted_s = (clock.monotonic_ms() - began_ms) / 1_000
        now_opened, now_refused = self._counts()
        self._opened, self._refused = now_opened - opened, now_refused - refused
        unresumed = watch.unresumed
        self.undo()
        await self._await_back()
        watch.look(self._facts(), clock.monotonic_ms())
        return self._judged(record, stop, problem, unresumed, lasted_s)

    def undo(self) -> None:
        """Let the links up again; may be called twice."""
        self._bar.lifted.set()
        if self._table.bar is self._bar:
            self._table.bar = None

    def so_far(self, record: DrillRecord) -> DrillRecord:
        """The record with what is known of it now."""
        watch = self._watch
        if watch is None:
            return record
        pauses = watch.pauses()
        middle, longest = pause_figures(pauses)
        return structs.replace(
            record,
            links=self._before,
            lanes=self._lanes,
            sessions=pauses,
            streams=watch.streams,
            streams_kept=watch.streams_kept,
            pause_median_ms=middle,
            pause_longest_ms=longest,
            new_streams=self._opened,
            new_refused=self._refused,
            back_ms=self._back_ms,
        )

    def setup_failed(self, number: int, outlet: int, outcome: str, client: int) -> None:
        """It deals no new streams."""

    def governs(self, service: ServiceName) -> Governed | None:
        """It deals no new streams."""
        return None

    async def _await_back(self) -> None:
        clock = self._parts.node.clock
        began_ms = clock.monotonic_ms()
        while clock.monotonic_ms() - began_ms < 1_000 * BACK_MOST_S:
            if len(self._up()) >= self._before:
                self._back_ms = clock.monotonic_ms() - began_ms
                return
            await self._parts.sleep(LOOK_EVERY_S)

    def _judged(self, record: DrillRecord, stop: Stop, problem: str, unresumed: int, lasted_s: float) -> DrillRecord:
        assert self._watch is not None
        watch = self._watch
        result, sentence = PASSED, f"{watch.streams_kept:,} of {watch.streams:,} streams went on"
        if stop.reason and not problem:
            result, sentence = STOPPED, stop.reason
        lost = watch.streams - watch.streams_kept
        if problem:
            result, sentence = FAILED, problem
        elif lost:
            result, sentence = FAILED, f"{_count(lost, 'stream')} of {watch.streams:,} ended with the session"
        elif unresumed and result == PASSED:
            result, sentence = FAILED, f"{_count(unresumed, 'session')} found no other path in {lasted_s:.0f} s"
        elif self._refused and result == PASSED:
            result, sentence = FAILED, f"{_count(self._refused, 'new stream')} of {self._asked:,} came to nothing"
        if self._back_ms is None and result in (PASSED, STOPPED):
            result, sentence = FAILED, f"the links were not up again within {BACK_MOST_S:.0f} s"
        return structs.replace(self.so_far(record), result=result, sentence=sentence)

    @property
    def _asked(self) -> int:
        return self._opened + self._refused

    def _counts(self) -> tuple[int, int]:
        """New streams of all imports, and those that were refused."""
        counts = self._parts.services.stream_counts.imports
        found = [counts.get(each.number, ServiceCounts()) for each in self._parts.services.imports]
        return sum(each.opened_total for each in found), sum(each.refused_total for each in found)

    def _facts(self) -> dict[int, SessionFact]:
        found = {}
        for session in self._sessions:
            if session.state is State.CLOSED:
                continue
            path = session.path
            found[session.number] = SessionFact(
                is_up=session.state is State.UP,
                stalled_ms=session.stalled_ms,
                resumed_ms=session.resumed_ms,
                is_elsewhere=path is not None and not self._is_of(path.link),
                via=session.via,
            )
        return found


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
