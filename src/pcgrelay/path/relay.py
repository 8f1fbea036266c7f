"""A relay's paths: a request comes in over one link, goes out over another, and frames follow (docs/protocol.md, 9.5).

        neighbour a                this relay                  neighbour b
    PATH_OPEN(label: a_out) -->  policy, route, budget  -->  PATH_OPEN(label: b_in, via + this)
    <-- PATH_ACCEPT(label: a_in)       path_add          <--  PATH_ACCEPT(label: b_out)

A session may have several paths here at once: an id that appears again ends none of them, and the far edge chooses. The
relay sees which edges communicate and how much, and never the contents. Each of its refusals names a reason and itself
as the author.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from msgspec import structs

from pcgrelay.clock import Clock
from pcgrelay.dataplane.api import DataPlaneRefused, PathPlane
from pcgrelay.handover.records import LabelsHandover, RelayPathHandover
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit
from pcgrelay.log.throttle import Throttle
from pcgrelay.messages import (
    RELAYS_MOST,
    Carry,
    Code,
    Message,
    PathAccept,
    PathClose,
    PathOpen,
    PathRefuse,
)
from pcgrelay.model import NameProblem, NodeId
from pcgrelay.path.budget import Budget
from pcgrelay.path.edge import opened_of, refused_record, sender_refusal
from pcgrelay.path.handedon import REQUEST_COST, HandedOn
from pcgrelay.path.labels import Labels
from pcgrelay.path.relay_path import SETUP_ANSWERS, PathRefusal, RelayPath
from pcgrelay.path.table import PathTable
from pcgrelay.policy.clearances import LOWEST, Clearances
from pcgrelay.reasons import MARKING, NO_TRANSIT, OTHER_WAYS, is_identity, reason_passed_on, refuser

ANSWER_DEADLINE_MS = 10_000
LINE_INTERVAL_MS = 1_000
FORWARDS_MOST = 65_536
FORWARDS_OF_A_LINK_MOST = 4_096
PATHS_OF_A_SESSION_MOST = 8  # from one link: the one that stands, and others that may replace it
LINGER_S = 1.0

# So many links are tried for one request, if what is behind the first is not cleared.
LINKS_TRIED_MOST = 4

# Given the destination, whether a link may be used, and the marking: the link to use, or None.
NextLink = Callable[[NodeId, Callable[[Link], bool], int], Link | None]
# The same, and whether a link that fits may take paths in a moment.
AwaitsWay = Callable[[NodeId, Callable[[Link], bool], int], bool]
# Given the destination and the link to it: the relays that the neighbour there announces.
RelaysBehind = Callable[[NodeId, Link], tuple[str, ...]]
# Given source and destination: the reason for which the policy refuses the path, or None.
Reach = Callable[[NodeId, NodeId], str | None]


class RelayPaths:
    """All paths of a relay."""

    def __init__(
        self,
        me: NodeId,
        *,
        plane: PathPlane,
        labels: Labels,
        next_link: NextLink,
        awaits_way: AwaitsWay,
        reach: Reach,
        relays_behind: RelaysBehind,
        clearances: Callable[[], Clearances],
        budget: Budget,
        emit: Emit,
        clock: Clock,
    ) -> None:
        self.refused: Counter[str] = Counter()
        self._me = me
        self._plane = plane
        self._labels = labels
        self._next_link = next_link
        self._awaits_way = awaits_way
        self._reach = reach
        self._relays_behind = relays_behind
        self._clearances = clearances
        self._budget = budget
        self._emit = emit
        self._clock = clock
        self._throttle = Throttle(LINE_INTERVAL_MS)
        self._paths: PathTable[RelayPath] = PathTable()
        self._total = 0
        self._handed_on = HandedOn()
        self._of_link: Counter[int] = Counter()
        self._lingering: set[RelayPath] = set()
        self._onward: Counter[int] = Counter()
        self._next_number = 0

    def __len__(self) -> int:
        return self._total

    def count_over(self, link: Link) -> int:
        """How many paths go onward over a link."""
        return self._onward[link.number]

    @property
    def marking(self) -> int:
        """The highest marking of all paths, 1 to 3."""
        return max((relayed.marking for relayed in self._paths), default=LOWEST)

    def led_to(self, edge: NodeId) -> int:
        """How many paths begin or end at an edge."""
        return sum(edge in (relayed.source, relayed.destination) for relayed in set(self._paths))

    def receive(self, link: Link, message: Message) -> None:
        """Handle a neighbour's message about paths. One about an unknown path came too late and is ignored."""
        if isinstance(message, PathOpen):
            self._asked(link, message)
            return
        if not isinstance(message, PathAccept | PathRefuse | PathClose | Carry):
            return
        relayed = self._meant(link, message)
        if relayed is None:
            return
        if isinstance(message, PathAccept):
            self._accepted(relayed, link, message)
        elif isinstance(message, PathRefuse):
            self._refused(relayed, link, message)
        elif isinstance(message, PathClose):
            self._drop(relayed)
            self._close(relayed, relayed.other(link), message.code)
        else:
            self._carried(relayed, link, message)

    def control_lost(self, link: Link) -> None:
        """End the requests and set-ups over this link; paths that stand go on over its lanes."""
        for relayed in {relayed for relayed in self._paths if link in (relayed.a, relayed.b)}:
            if not relayed.stands:
                self._end(relayed, Code.UNREACHABLE, told=(relayed.other(link),))

    def link_down(self, link: Link) -> None:
        """End all paths over this link and tell the neighbours on their other sides."""
        for relayed in {relayed for relayed in self._paths if link in (relayed.a, relayed.b)}:
            self._end(relayed, Code.UNREACHABLE, told=(relayed.other(link),))

    def standing(self) -> set[RelayPath]:
        """All paths that were accepted."""
        return {relayed for relayed in self._paths if relayed.is_live}

    def onward(self, a: Link, destination: NodeId) -> Link | str:
        """Return the link over which a path of that neighbour would go on now, or the reason for a refusal.

        It is chosen as for one that is asked for; nothing is sent, and nothing kept.
        """
        asked = PathOpen(b"", a.peer.uri, destination.uri, LOWEST, 0, 1, 0, 0, False, ())
        try:
            return self._onward_link(destination, a, asked, frozenset())
        except PathRefusal as refusal:
            return refusal.reason

    def to_handover(self) -> tuple[tuple[RelayPathHandover, ...], LabelsHandover, int]:
        """Return the hand-over records of the accepted paths and of the labels, and the last number that was given."""
        return (
            tuple(relayed.to_handover() for relayed in self.standing()),
            self._labels.to_handover(),
            self._next_number,
        )

    def restore(
        self, handovers: Sequence[RelayPathHandover], labels: LabelsHandover, last: int, links: Mapping[int, Link]
    ) -> None:
        """Restore the paths of the previous process. The core has them already; a path without both links is removed.

        last: the last number that was given. links: the restored links by number.
        """
        for each in handovers:
            if each.a not in links or each.b not in links:
                with suppress(DataPlaneRefused):
                    self._plane.path_remove(each.number)
                continue
            self._add(RelayPath.restored(each, links))
        self._labels.restore(labels, [label for each in handovers for label in (each.a_in, each.b_in)])
        self._next_number = last

    def use(self, link: Link) -> bool:
        """Whether a path uses that link, or did a moment ago."""
        return any(link in (relayed.a, relayed.b) for relayed in (*self._paths, *self._lingering))

    def judge(self) -> None:
        """End the paths that the policy no longer allows, or that are no longer cleared, after it has changed."""
        for relayed in set(self._paths):
            if word := self._reach(relayed.source, relayed.destination) or self._way_refusal(relayed):
                self._count(word)
                self._end(relayed, Code.REFUSED, told=(relayed.a, relayed.b))
        for relayed in list(self._lingering):
            if self._reach(relayed.source, relayed.destination) or self._way_refusal(relayed):
                self._removed(relayed)

    def lead_away(self, link: Link) -> None:
        """End the paths onward over a draining link that have another route: their edges open them again."""
        for relayed in {relayed for relayed in self._paths if relayed.b is link}:
            # A path whose destination is that neighbour stays: an edge that drains lets its streams end.
            if link.peer != relayed.destination and self._other_way(relayed):
                self._end(relayed, Code.DRAINING, told=(relayed.a, relayed.b))

    def lead_over(self, link: Link) -> None:
        """Have the paths onward over a replaced link opened again over the newer link with that neighbour.

        Frames on them are still forwarded meanwhile, because the lanes of the old link are still up.
        """
        for relayed in {relayed for relayed in self._paths if relayed.b is link and relayed.is_live}:
            if self._other_way(relayed):
                self._end(relayed, Code.DRAINING, told=(relayed.a, relayed.b), lingers=True)

    def expire(self) -> None:
        """Refuse the requests that were not answered within ANSWER_DEADLINE_MS; called once a second."""
        now = self._clock.monotonic_ms()
        self._handed_on.forget(now)
        for relayed in set(self._paths):
            if not relayed.is_live and now - relayed.opened_ms > ANSWER_DEADLINE_MS:
                self._drop(relayed)
                self._refuse(relayed.a, relayed.session, relayed.a_out, Code.TIMEOUT, "no_answer")
                self._close(relayed, relayed.b, Code.TIMEOUT)

    def close_all(self, code: int) -> None:
        """End every path with this code, because this relay stops."""
        for relayed in set(self._paths):
            self._end(relayed, code, told=(relayed.a, relayed.b))

    # -- requests ----------------------------------------------------------------------------------------------

    def _meant(self, link: Link, message: PathAccept | PathRefuse | PathClose | Carry) -> RelayPath | None:
        """Find the path of a message. Without a label it is a request for an answer, else the one that stands."""
        if opened := opened_of(message):
            return self._paths.find(link.number, message.session, opened)
        alike = self._paths.of(link.number, message.session)
        is_answer = isinstance(message, PathAccept | PathRefuse)
        return next((relayed for relayed in alike if relayed.is_live is not is_answer), alike[0] if alike else None)

    def _asked(self, a: Link, asked: PathOpen) -> None:
        try:
            relayed = self._planned(a, asked)
        except PathRefusal as refusal:
            self._count(refusal.reason)
            suppressed = self._throttle.admit(f"{a.number} {refusal.reason}", self._clock.monotonic_ms())
            if suppressed is not None:
                self._emit(refused_record(asked, refusal.code, refusal.reason, suppressed))
            self._refuse(a, asked.session, asked.label, refusal.code, refusal.reason)
            return
        self._hand_on(relayed, asked)

    def _hand_on(self, relayed: RelayPath, asked: PathOpen) -> None:
        relayed.asked = asked
        self._add(relayed)
        relayed.b.send(
            structs.replace(
                asked,
                flows=relayed.flows,
                cap=relayed.cap,
                label=relayed.b_in,
                via=(*asked.via, self._me.uri),
            )
        )

    def _asked_elsewhere(self, relayed: RelayPath) -> bool:
        """Ask for a refused path over another link; whether there is one.

        A node behind this one judges by what it alone knows, and the edge that asks cannot name the way.
        """
        tried = relayed.tried | {relayed.b.number}
        if relayed.asked is None or len(tried) >= LINKS_TRIED_MOST:
            return False
        try:
            other = self._planned(relayed.a, relayed.asked, tried)
        except PathRefusal:
            return False
        other.opened_ms, other.tried = relayed.opened_ms, tried
        self._hand_on(other, relayed.asked)
        return True

    def _planned(self, a: Link, asked: PathOpen, tried: frozenset[int] = frozenset()) -> RelayPath:
        """Plan the path: its onward link, none of those that were tried, flows, cap and labels. Raises PathRefusal."""
        try:
            source, destination = NodeId.from_uri(asked.source), NodeId.from_uri(asked.destination)
        except NameProblem:
            raise PathRefusal(Code.VIOLATION, "malformed") from None
        if word := sender_refusal(asked, a.peer, a.peer_role):
            raise PathRefusal(Code.VIOLATION, word)
        if self._me.uri in asked.via or len(asked.via) >= RELAYS_MOST:
            raise PathRefusal(Code.LIMIT, "loop" if self._me.uri in asked.via else "path_too_long")
        if not all(map(is_identity, asked.via)):
            raise PathRefusal(Code.VIOLATION, "malformed")
        if {source.realm, destination.realm} != {self._me.realm}:
            raise PathRefusal(Code.REFUSED, "wrong_realm")
        if word := self._reach(source, destination):
            raise PathRefusal(Code.REFUSED, word)
        if not self._clearances().clears(asked.marking, a.bearer, asked.via):
            raise PathRefusal(Code.REFUSED, MARKING)
        if len(self) >= FORWARDS_MOST or self._of_link[a.number] >= FORWARDS_OF_A_LINK_MOST:
            raise PathRefusal(Code.BUSY, "too_many_paths")
        if self._paths.find(a.number, asked.session, asked.label) is not None:
            raise PathRefusal(Code.VIOLATION, "label_taken")
        alike = self._paths.of(a.number, asked.session)
        if len(alike) >= PATHS_OF_A_SESSION_MOST:
            if asked.via:
                raise PathRefusal(Code.BUSY, "too_many_paths")
            # The edge itself opened them. An older version leaves its paths for others without a PATH_CLOSE.
            self._end(alike[0], Code.DONE, told=(alike[0].a, alike[0].b))
        b = self._onward_link(destination, a, asked, tried)
        if not self._handed_on.admits(
            self._clock.monotonic_ms(), b.number, a.peer, a.peer_role, source, cost=REQUEST_COST
        ):
            raise PathRefusal(Code.BUSY, "too_many_requests")
        flows = min(asked.flows, a.lanes, b.lanes)
        if asked.resume and flows < asked.flows:
            raise PathRefusal(Code.LIMIT, "too_few_lanes")
        most = asked.cap if asked.resume else min(asked.cap, a.cap, b.cap)
        cap = self._budget.cap_granted(flows, most, exactly=asked.resume)
        if cap is None:
            raise PathRefusal(Code.BUSY, "memory_budget")
        self._next_number += 1
        return RelayPath(
            number=self._next_number,
            session=asked.session,
            source=source,
            destination=destination,
            a=a,
            b=b,
            a_in=self._labels.take(),
            a_out=asked.label,
            b_in=self._label_on(b, asked.session),
            flows=flows,
            cap=cap,
            priority=asked.priority,
            opened_ms=self._clock.monotonic_ms(),
            marking=asked.marking,
            via=asked.via,
            answers=SETUP_ANSWERS if asked.resume else 0,
        )

    def _onward_link(self, destination: NodeId, a: Link, asked: PathOpen, tried: frozenset[int]) -> Link:
        """Choose the onward link of a path. Raises PathRefusal."""
        passed = (*asked.via, asked.source)

        def leads(link: Link) -> bool:
            return link is not a and link.number not in tried and link.peer.uri not in passed

        def fits(link: Link) -> bool:
            return leads(link) and may_transit(a.bearer, link.bearer)

        may_transit = self._clearances().may_transit
        b = self._next_link(destination, fits, asked.marking)
        if b is not None:
            return b
        if self._next_link(destination, leads, LOWEST) is None or self._awaits_way(destination, fits, asked.marking):
            raise PathRefusal(Code.UNREACHABLE, "no_route")
        is_cleared = self._next_link(destination, leads, asked.marking) is not None
        raise PathRefusal(Code.REFUSED, NO_TRANSIT if is_cleared else MARKING)

    def _way_refusal(self, relayed: RelayPath) -> str | None:
        """Return the reason for which a path may not go on over its two links, or None."""
        clearances, a, b = self._clearances(), relayed.a, relayed.b
        behind = self._relays_behind(relayed.destination, b)
        marking = relayed.marking
        if not clearances.clears(marking, a.bearer, relayed.via) or not clearances.clears(marking, b.bearer, behind):
            return MARKING
        return None if clearances.may_transit(a.bearer, b.bearer) else NO_TRANSIT

    def _label_on(self, b: Link, session: bytes) -> int:
        """Allocate a label under which no path of that session was opened on that link, from either side."""
        passed_over = []
        # Bounded by the paths that one session may have over a link.
        while self._paths.find(b.number, session, label := self._labels.take()) is not None:
            passed_over.append(label)
        for each in passed_over:
            self._labels.give_back(each)
        return label

    def _other_way(self, relayed: RelayPath) -> Link | None:
        """Find a link that the path could use instead of its onward one."""
        back = (relayed.a.peer.uri, relayed.source.uri)
        may_transit = self._clearances().may_transit
        return self._next_link(
            relayed.destination,
            lambda link: (
                link not in (relayed.a, relayed.b)
                and link.peer.uri not in back
                and may_transit(relayed.a.bearer, link.bearer)
            ),
            relayed.marking,
        )

    def _accepted(self, relayed: RelayPath, link: Link, message: PathAccept) -> None:
        if relayed.is_live or link is not relayed.b:
            return
        if message.flows > relayed.flows or message.cap > relayed.cap:
            self._drop(relayed)
            self._refuse(relayed.a, relayed.session, relayed.a_out, Code.VIOLATION, "more_than_asked")
            self._close(relayed, relayed.b, Code.VIOLATION)
            return
        self._budget = self._budget.released(relayed.flows, relayed.cap).reserved(message.flows, message.cap)
        relayed.flows, relayed.cap = message.flows, message.cap
        try:
            self._plane.path_add(relayed.number, relayed.spec(message.label))
        except DataPlaneRefused:
            self._drop(relayed)
            self._count("refused_by_core")
            self._refuse(relayed.a, relayed.session, relayed.a_out, Code.BUSY, "refused_by_core")
            self._close(relayed, relayed.b, Code.BUSY)
            return
        relayed.is_live, relayed.asked = True, None
        relayed.a.send(PathAccept(relayed.session, relayed.flows, relayed.cap, relayed.a_in, relayed.a_out))

    def _refused(self, relayed: RelayPath, link: Link, message: PathRefuse) -> None:
        if not relayed.is_live and link is relayed.b:
            self._drop(relayed)
            if message.reason in OTHER_WAYS and self._asked_elsewhere(relayed):
                return
            by, reason = refuser(message.by, link.peer, link.peer_role), reason_passed_on(message.reason)
            relayed.a.send(structs.replace(message, reason=reason, by=by, opened=relayed.a_out))

    def _carried(self, relayed: RelayPath, link: Link, message: Carry) -> None:
        if not relayed.is_live:
            return
        now, to = self._clock.monotonic_ms(), relayed.other(link)
        author = relayed.source if link is relayed.a else relayed.destination
        is_admitted = self._handed_on.admits(now, to.number, link.peer, link.peer_role, author)
        if not is_admitted or not relayed.may_carry(len(message.data), now):
            self._count("carry_limit")
            self._end(relayed, Code.LIMIT, told=(relayed.a, relayed.b))
            return
        relayed.carried(link)
        to.send(message)

    # -- the table ---------------------------------------------------------------------------------------------

    def _add(self, relayed: RelayPath) -> None:
        for link in (relayed.a, relayed.b):
            self._paths.enter(link.number, relayed.session, relayed.opened(link), relayed)
        self._total += 1
        self._of_link[relayed.a.number] += 1
        self._onward[relayed.b.number] += 1
        self._budget = self._budget.reserved(relayed.flows, relayed.cap)

    def _end(self, relayed: RelayPath, code: int, told: tuple[Link, ...], *, lingers: bool = False) -> None:
        self._drop(relayed, lingers=lingers)
        for link in told:
            if link is relayed.a and not relayed.is_live:
                self._refuse(link, relayed.session, relayed.a_out, code, "path_lost")
            else:
                self._close(relayed, link, code)

    def _drop(self, relayed: RelayPath, *, lingers: bool = False) -> None:
        """Forget a path. lingers: frames on it are forwarded for LINGER_S longer, until its edges have moved."""
        if relayed.is_gone:
            return
        relayed.is_gone = True
        for link in (relayed.a, relayed.b):
            self._paths.leave(link.number, relayed.session, relayed.opened(link))
        self._total -= 1
        for table, number in ((self._of_link, relayed.a.number), (self._onward, relayed.b.number)):
            table[number] -= 1
            if not table[number]:
                del table[number]
        self._budget = self._budget.released(relayed.flows, relayed.cap)
        self._labels.give_back(relayed.a_in)
        self._labels.give_back(relayed.b_in)
        if relayed.is_live and lingers:
            self._lingering.add(relayed)
            asyncio.get_running_loop().call_later(LINGER_S, self._lingered, relayed)
        elif relayed.is_live:
            self._removed(relayed)

    def _lingered(self, relayed: RelayPath) -> None:
        if relayed in self._lingering:
            self._removed(relayed)

    def _removed(self, relayed: RelayPath) -> None:
        self._lingering.discard(relayed)
        with suppress(DataPlaneRefused):
            self._plane.path_remove(relayed.number)

    def _close(self, relayed: RelayPath, link: Link, code: int) -> None:
        link.send(PathClose(relayed.session, code, relayed.opened(link)))

    def _refuse(self, link: Link, session: bytes, opened: int, code: int, reason: str) -> None:
        link.send(PathRefuse(session=session, code=code, reason=reason, by=self._me.uri, opened=opened))

    def _count(self, reason: str) -> None:
        self.refused[reason] += 1
