"""A relay's paths: a request comes in over one link, goes out over another, and frames follow (docs/protocol.md, 9.5).

        neighbour a                this relay                  neighbour b
    PATH_OPEN(label: a_out) -->  policy, route, budget  -->  PATH_OPEN(label: b_in, via + this)
    <-- PATH_ACCEPT(label: a_in)       path_add          <--  PATH_ACCEPT(label: b_out)

The relay sees who talks to whom and how much, and never what. It answers each refusal by name and itself as the author.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from msgspec import structs

from pcgrelay.audit.record import PathRefused as PathRefusedRecord
from pcgrelay.audit.record import Say, Throttle
from pcgrelay.clock import Clock
from pcgrelay.model import NameProblem, NodeId
from pcgrelay.routing.policy import Budget
from pcgrelay.session.dataplane import DataPlaneRefused, PathPlane
from pcgrelay.session.estate import ForwardEstate, LabelsEstate
from pcgrelay.session.labels import Labels
from pcgrelay.session.link import Link
from pcgrelay.session.messages import (
    RELAYS_MOST,
    Carry,
    Code,
    Message,
    PathAccept,
    PathClose,
    PathOpen,
    PathRefuse,
    code_name,
)
from pcgrelay.session.paths import is_meant, sender_refusal

ANSWER_DEADLINE_MS = 10_000
LINE_INTERVAL_MS = 1_000
FORWARDS_MOST = 65_536
FORWARDS_OF_A_LINK_MOST = 4_096
# CARRY is for handshakes. A path may carry two of the largest at once and a trickle after that, so that nobody uses the
# control plane to move data.
CARRY_AT_ONCE_BYTES = 524_288
CARRY_EACH_SECOND_BYTES = 4_096
LINGER_S = 1.0
# The far edge answers a ClientHello, and then the initiator's HELLO: before that no set-up is over.
SETUP_ANSWERS = 2

# Given the destination, and what must not be led over: the link to take, or nothing.
NextLink = Callable[[NodeId, Callable[[Link], bool]], Link | None]
# Given source and destination: why not, in one word, or nothing.
Reach = Callable[[NodeId, NodeId], str | None]


@dataclass(eq=False, slots=True)
class Forward:
    """One path through this relay."""

    number: int
    session: bytes
    source: NodeId
    destination: NodeId
    a: Link
    b: Link
    a_in: int
    a_out: int
    b_in: int
    flows: int
    cap: int
    priority: int
    opened_ms: int
    answers: int = 0  # of the far edge, in handshakes
    is_answered: bool = True  # the far edge has spoken last
    is_live: bool = False
    is_gone: bool = False
    allowance: float = CARRY_AT_ONCE_BYTES
    allowance_ms: int = 0

    def opened(self, link: Link) -> int:
        """The label in the PATH_OPEN on that side, by which the neighbour there knows this path from another one."""
        return self.a_out if link is self.a else self.b_in

    @property
    def stands(self) -> bool:
        """Whether a session may have been set up on it, as far as can be seen from outside."""
        return self.is_live and self.answers >= SETUP_ANSWERS

    def carried(self, link: Link) -> None:
        """A neighbour speaks in a handshake between the edges; what it says in several messages is one answer."""
        if link is self.b and not self.is_answered:
            self.answers += 1
        self.is_answered = link is self.b

    def other(self, link: Link) -> Link:
        """The side that is not this one."""
        return self.b if link is self.a else self.a


class _Refusal(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Forwards:
    """All paths of a relay."""

    def __init__(
        self,
        me: NodeId,
        *,
        plane: PathPlane,
        labels: Labels,
        next_link: NextLink,
        reach: Reach,
        budget: Budget,
        say: Say,
        clock: Clock,
    ) -> None:
        self.refused: dict[str, int] = {}
        self._me = me
        self._plane = plane
        self._labels = labels
        self._next_link = next_link
        self._reach = reach
        self._budget = budget
        self._say = say
        self._clock = clock
        self._throttle = Throttle(LINE_INTERVAL_MS)
        self._by_key: dict[tuple[int, bytes], Forward] = {}
        self._of_link: dict[int, int] = {}
        self._lingering: set[Forward] = set()
        self._onward: dict[int, int] = {}
        self._next_number = 0

    def __len__(self) -> int:
        return len(self._by_key) // 2

    def onward_over(self, link: Link) -> int:
        """How many paths go out over a link."""
        return self._onward.get(link.number, 0)

    def led_to(self, edge: NodeId) -> int:
        """How many paths lead to an edge, or come from it."""
        return sum(edge in (forward.source, forward.destination) for forward in set(self._by_key.values()))

    def receive(self, link: Link, message: Message) -> None:
        """What a neighbour says about paths. A word on a path that is not known came too late, and is nothing."""
        if isinstance(message, PathOpen):
            self._asked(link, message)
            return
        if not isinstance(message, PathAccept | PathRefuse | PathClose | Carry):
            return
        forward = self._by_key.get((link.number, message.session))
        if forward is None or not is_meant(message, forward.opened(link)):
            return
        if isinstance(message, PathAccept):
            self._accepted(forward, link, message)
        elif isinstance(message, PathRefuse):
            self._refused(forward, link, message)
        elif isinstance(message, PathClose):
            self._drop(forward)
            self._close(forward, forward.other(link), message.code)
        else:
            self._carried(forward, link, message)

    def control_lost(self, link: Link) -> None:
        """Requests over this link will not be answered, nor set-ups finished; paths that stand go on over its lanes."""
        for forward in {forward for forward in self._by_key.values() if link in (forward.a, forward.b)}:
            if not forward.stands:
                self._end(forward, Code.UNREACHABLE, told=(forward.other(link),))

    def link_down(self, link: Link) -> None:
        """All paths over this link are lost; the other sides are told."""
        for forward in {forward for forward in self._by_key.values() if link in (forward.a, forward.b)}:
            self._end(forward, Code.UNREACHABLE, told=(forward.other(link),))

    def estate(self) -> tuple[tuple[ForwardEstate, ...], LabelsEstate, int]:
        """What another process has to know: paths that stand, labels, and the last number that was given."""
        living = (forward for forward in set(self._by_key.values()) if forward.is_live)
        return tuple(_estate(forward) for forward in living), self._labels.estate(), self._next_number

    def inherit(
        self, estates: Sequence[ForwardEstate], labels: LabelsEstate, last: int, links: Mapping[int, Link]
    ) -> None:
        """Have the paths of the process before this one; the core has them already."""
        for each in estates:
            if each.a not in links or each.b not in links:
                with suppress(DataPlaneRefused):
                    self._plane.path_remove(each.number)
                continue
            forward = Forward(
                number=each.number,
                session=each.session,
                source=NodeId.from_uri(each.source),
                destination=NodeId.from_uri(each.destination),
                a=links[each.a],
                b=links[each.b],
                a_in=each.a_in,
                a_out=each.a_out,
                b_in=each.b_in,
                flows=each.flows,
                cap=each.cap,
                priority=each.priority,
                opened_ms=each.opened_ms,
                answers=SETUP_ANSWERS,  # who was set up over the process before has lost its control connection
                is_live=True,
                allowance_ms=self._clock.monotonic_ms(),
            )
            self._add(forward)
        self._labels.inherit(labels, [label for each in estates for label in (each.a_in, each.b_in)])
        self._next_number = last

    def use(self, link: Link) -> bool:
        """Whether a path leads over that link, or did a moment ago."""
        return any(link in (forward.a, forward.b) for forward in (*self._by_key.values(), *self._lingering))

    def judge(self) -> None:
        """The policy has changed: end the paths that it no longer allows."""
        for forward in set(self._by_key.values()):
            if word := self._reach(forward.source, forward.destination):
                self._count(word)
                self._end(forward, Code.REFUSED, told=(forward.a, forward.b))

    def lead_away(self, link: Link) -> None:
        """End paths onward over a link that is leaving, if there is another way: their edges open them anew."""
        for forward in {forward for forward in self._by_key.values() if forward.b is link}:
            # At its end the path stays: an edge that leaves lets its streams end.
            if link.peer != forward.destination and self._other_way(forward):
                self._end(forward, Code.DRAINING, told=(forward.a, forward.b))

    def lead_over(self, link: Link) -> None:
        """A newer link with that neighbour is up: have the paths onward over the old one opened anew over it.

        What is on them goes on meanwhile, for the lanes of the old link are still there.
        """
        for forward in {forward for forward in self._by_key.values() if forward.b is link and forward.is_live}:
            if self._other_way(forward):
                self._end(forward, Code.DRAINING, told=(forward.a, forward.b), lingers=True)

    def expire(self) -> None:
        """Give up requests that nobody answered."""
        now = self._clock.monotonic_ms()
        for forward in set(self._by_key.values()):
            if not forward.is_live and now - forward.opened_ms > ANSWER_DEADLINE_MS:
                self._drop(forward)
                self._refuse(forward.a, forward.session, forward.a_out, Code.TIMEOUT, "no_answer")
                self._close(forward, forward.b, Code.TIMEOUT)

    def close_all(self, code: int) -> None:
        """Take every path down, as this relay leaves."""
        for forward in set(self._by_key.values()):
            self._end(forward, code, told=(forward.a, forward.b))

    # -- requests ----------------------------------------------------------------------------------------------

    def _asked(self, a: Link, asked: PathOpen) -> None:
        old = self._by_key.get((a.number, asked.session))
        if old is not None:
            self._end(old, Code.DONE, told=(old.other(a),))
        try:
            forward = self._planned(a, asked)
        except _Refusal as refusal:
            self._count(refusal.reason)
            suppressed = self._throttle.admit(f"{a.number} {refusal.reason}", self._clock.monotonic_ms())
            if suppressed is not None:
                self._say(
                    PathRefusedRecord(
                        source=asked.source,
                        destination=asked.destination,
                        code=code_name(refusal.code),
                        reason=refusal.reason,
                        suppressed=suppressed,
                    )
                )
            self._refuse(a, asked.session, asked.label, refusal.code, refusal.reason)
            return
        beside = self._by_key.get((forward.b.number, asked.session))
        if beside is not None:
            # The session comes back over another of our links: the neighbour replaces the old path by itself.
            self._end(beside, Code.DONE, told=(beside.other(forward.b),), lingers=beside.a.replaced)
        self._add(forward)
        forward.b.send(
            PathOpen(
                session=asked.session,
                source=asked.source,
                destination=asked.destination,
                marking=asked.marking,
                priority=asked.priority,
                flows=forward.flows,
                cap=forward.cap,
                label=forward.b_in,
                resume=asked.resume,
                via=(*asked.via, self._me.uri),
            )
        )

    def _planned(self, a: Link, asked: PathOpen) -> Forward:
        """The path as this relay would lead it; raises a refusal."""
        try:
            source, destination = NodeId.from_uri(asked.source), NodeId.from_uri(asked.destination)
        except NameProblem:
            raise _Refusal(Code.VIOLATION, "malformed") from None
        if word := sender_refusal(asked, a.peer, a.peer_role):
            raise _Refusal(Code.VIOLATION, word)
        if self._me.uri in asked.via or len(asked.via) >= RELAYS_MOST:
            raise _Refusal(Code.LIMIT, "loop" if self._me.uri in asked.via else "path_too_long")
        if {source.realm, destination.realm} != {self._me.realm}:
            raise _Refusal(Code.REFUSED, "wrong_realm")
        if word := self._reach(source, destination):
            raise _Refusal(Code.REFUSED, word)
        if len(self) >= FORWARDS_MOST or self._of_link.get(a.number, 0) >= FORWARDS_OF_A_LINK_MOST:
            raise _Refusal(Code.BUSY, "too_many_paths")
        b = self._next_link(destination, lambda link: link is not a and link.peer.uri not in (*asked.via, asked.source))
        if b is None:
            raise _Refusal(Code.UNREACHABLE, "no_route")
        flows = min(asked.flows, a.lanes, b.lanes)
        if asked.resume and flows < asked.flows:
            raise _Refusal(Code.LIMIT, "too_few_lanes")
        most = asked.cap if asked.resume else min(asked.cap, a.cap, b.cap)
        cap = self._budget.cap_granted(flows, most, exactly=asked.resume)
        if cap is None:
            raise _Refusal(Code.BUSY, "memory_budget")
        self._next_number += 1
        return Forward(
            number=self._next_number,
            session=asked.session,
            source=source,
            destination=destination,
            a=a,
            b=b,
            a_in=self._labels.take(),
            a_out=asked.label,
            b_in=self._labels.take(),
            flows=flows,
            cap=cap,
            priority=asked.priority,
            opened_ms=self._clock.monotonic_ms(),
            answers=SETUP_ANSWERS if asked.resume else 0,
            allowance_ms=self._clock.monotonic_ms(),
        )

    def _other_way(self, forward: Forward) -> Link | None:
        """A link that the path could take instead of its onward one."""
        back = (forward.a.peer.uri, forward.source.uri)
        return self._next_link(
            forward.destination, lambda link: link not in (forward.a, forward.b) and link.peer.uri not in back
        )

    def _accepted(self, forward: Forward, link: Link, message: PathAccept) -> None:
        if forward.is_live or link is not forward.b:
            return
        if message.flows > forward.flows or message.cap > forward.cap:
            self._drop(forward)
            self._refuse(forward.a, forward.session, forward.a_out, Code.VIOLATION, "more_than_asked")
            self._close(forward, forward.b, Code.VIOLATION)
            return
        self._budget = self._budget.released(forward.flows, forward.cap).reserved(message.flows, message.cap)
        forward.flows, forward.cap = message.flows, message.cap
        try:
            self._plane.path_add(
                forward.number,
                a_link=forward.a.number,
                a_in=forward.a_in,
                a_out=forward.a_out,
                b_link=forward.b.number,
                b_in=forward.b_in,
                b_out=message.label,
                cap=forward.cap,
                priority=forward.priority,
            )
        except DataPlaneRefused:
            self._drop(forward)
            self._count("refused_by_core")
            self._refuse(forward.a, forward.session, forward.a_out, Code.BUSY, "refused_by_core")
            self._close(forward, forward.b, Code.BUSY)
            return
        forward.is_live = True
        forward.a.send(PathAccept(forward.session, forward.flows, forward.cap, forward.a_in, forward.a_out))

    def _refused(self, forward: Forward, link: Link, message: PathRefuse) -> None:
        if not forward.is_live and link is forward.b:
            self._drop(forward)
            forward.a.send(structs.replace(message, opened=forward.a_out))

    def _carried(self, forward: Forward, link: Link, message: Carry) -> None:
        if not forward.is_live:
            return
        now = self._clock.monotonic_ms()
        forward.allowance += (now - forward.allowance_ms) * CARRY_EACH_SECOND_BYTES / 1000
        forward.allowance = min(forward.allowance, CARRY_AT_ONCE_BYTES) - len(message.data)
        forward.allowance_ms = now
        if forward.allowance < 0:
            self._count("carry_limit")
            self._end(forward, Code.LIMIT, told=(forward.a, forward.b))
            return
        forward.carried(link)
        forward.other(link).send(message)

    # -- the table ---------------------------------------------------------------------------------------------

    def _add(self, forward: Forward) -> None:
        self._by_key[(forward.a.number, forward.session)] = forward
        self._by_key[(forward.b.number, forward.session)] = forward
        self._of_link[forward.a.number] = self._of_link.get(forward.a.number, 0) + 1
        self._onward[forward.b.number] = self.onward_over(forward.b) + 1
        self._budget = self._budget.reserved(forward.flows, forward.cap)

    def _end(self, forward: Forward, code: int, told: tuple[Link, ...], *, lingers: bool = False) -> None:
        self._drop(forward, lingers=lingers)
        for link in told:
            if link is forward.a and not forward.is_live:
                self._refuse(link, forward.session, forward.a_out, code, "path_lost")
            else:
                self._close(forward, link, code)

    def _drop(self, forward: Forward, *, lingers: bool = False) -> None:
        """Forget a path. lingers: frames on it are still forwarded for a moment, until its edges have moved."""
        if forward.is_gone:
            return
        forward.is_gone = True
        for link in (forward.a, forward.b):
            if self._by_key.get((link.number, forward.session)) is forward:
                del self._by_key[(link.number, forward.session)]
        for table, number in ((self._of_link, forward.a.number), (self._onward, forward.b.number)):
            table[number] -= 1
            if not table[number]:
                del table[number]
        self._budget = self._budget.released(forward.flows, forward.cap)
        self._labels.give_back(forward.a_in)
        self._labels.give_back(forward.b_in)
        if forward.is_live and lingers:
            self._lingering.add(forward)
            asyncio.get_running_loop().call_later(LINGER_S, self._removed, forward)
        elif forward.is_live:
            self._removed(forward)

    def _removed(self, forward: Forward) -> None:
        self._lingering.discard(forward)
        with suppress(DataPlaneRefused):
            self._plane.path_remove(forward.number)

    def _close(self, forward: Forward, link: Link, code: int) -> None:
        link.send(PathClose(forward.session, code, forward.opened(link)))

    def _refuse(self, link: Link, session: bytes, opened: int, code: int, reason: str) -> None:
        link.send(PathRefuse(session=session, code=code, reason=reason, by=self._me.uri, opened=opened))

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


def _estate(forward: Forward) -> ForwardEstate:
    return ForwardEstate(
        number=forward.number,
        session=forward.session,
        source=forward.source.uri,
        destination=forward.destination.uri,
        a=forward.a.number,
        b=forward.b.number,
        a_in=forward.a_in,
        a_out=forward.a_out,
        b_in=forward.b_in,
        flows=forward.flows,
        cap=forward.cap,
        priority=forward.priority,
        opened_ms=forward.opened_ms,
    )
