"""The ends of paths at an edge: opened by this edge or by another one, accepted, closed, lost with their link.

A path is identified by its link, its session and the label of its PATH_OPEN; one session may have several. Messages
about a path name that label. What is carried on a path is for `session`. A path *stands* once a session with keys uses
it or may use it; before that it needs the control connection and is lost with it (docs/protocol.md, 9.5).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from pcgrelay.handover.records import LabelsHandover, PathHandover
from pcgrelay.link.link import Link
from pcgrelay.log.events import PathRefused as PathRefusedRecord
from pcgrelay.messages import (
    CARRY_LIMIT_BYTES,
    Carry,
    Code,
    Message,
    PathAccept,
    PathClose,
    PathOpen,
    PathRefuse,
    code_name,
)
from pcgrelay.model import NameProblem, NodeId, Role
from pcgrelay.path.labels import Labels
from pcgrelay.path.table import PathTable
from pcgrelay.reasons import is_identity, reason_known, refuser

PATHS_MOST = 16_384
LEAVE_S = 1.0  # time for the far edge to answer the end of a session


class PathRefused(Exception):
    """A path was refused, by a relay or by the far edge.

    code: of PATH_REFUSE or PATH_CLOSE. reason: one word. by: the identity (URI) of the node that refused, or empty.
    """

    def __init__(self, code: int, reason: str, by: str) -> None:
        super().__init__(f"{code_name(code)} {reason}")
        self.code = code
        self.reason = reason
        self.by = by


@dataclass(eq=False, slots=True)
class PathEnd:
    """This edge's end of one path."""

    link: Link
    session: bytes
    peer: NodeId  # the far edge as PATH_OPEN names it; proved by the session's handshake
    in_label: int
    flows: int
    cap: int
    marking: int
    priority: int
    initiator: bool
    out_label: int = 0
    is_open: bool = True
    stands: bool = False
    is_candidate: bool = False  # it may become the path of a session that the other edge began
    answered: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    via: tuple[str, ...] = ()  # identities of the relays as PATH_OPEN named them; known to the responder only
    on_carry: Callable[[bytes], None] | None = None
    on_closed: Callable[[int], None] | None = None

    @property
    def opened(self) -> int:
        """The label in its PATH_OPEN, by which both neighbours tell it from an earlier or later path."""
        return self.in_label if self.initiator else self.out_label

    @property
    def way(self) -> tuple[str, ...]:
        """The route to the other edge as far as it is known: the link, then the relays behind it."""
        return (str(self.link.number), *reversed(self.via))

    @property
    def relays(self) -> tuple[str, ...]:
        """Dotted names of the relays on it, as far as they are known: the neighbour, and those that PATH_OPEN named."""
        behind = (NodeId.from_uri(uri).dotted for uri in reversed(self.via))
        near = (self.link.peer.dotted,) if self.link.peer_role is Role.RELAY else ()
        return tuple(dict.fromkeys((*near, *behind)))

    def to_handover(self) -> PathHandover:
        """Return the hand-over record of this path."""
        return PathHandover(
            link=self.link.number,
            peer=self.peer.uri,
            in_label=self.in_label,
            out_label=self.out_label,
            flows=self.flows,
            cap=self.cap,
            marking=self.marking,
            priority=self.priority,
            initiator=self.initiator,
            via=self.via,
        )


class Answerer(Protocol):
    """Decides on the paths that other edges open."""

    def path_asked(self, link: Link, asked: PathOpen, source: NodeId) -> None: ...


def sender_refusal(asked: PathOpen, sender: NodeId, role: Role) -> str | None:
    """Return the reason for which a PATH_OPEN cannot have come from this neighbour, or None.

    An edge opens paths in its own name only; a relay must be the last one named in `via`.
    """
    if asked.via and role is not Role.RELAY:
        return "not_a_relay"
    if len(set(asked.via)) != len(asked.via):
        return "loop"
    return None if sender.uri == (asked.via[-1] if asked.via else asked.source) else "wrong_sender"


def refused_record(asked: PathOpen, code: int, reason: str, suppressed: int) -> PathRefusedRecord:
    """Return the log record of a refused path. suppressed: so many like it were not logged."""
    return PathRefusedRecord(
        source=asked.source, destination=asked.destination, code=code_name(code), reason=reason, suppressed=suppressed
    )


def opened_of(message: PathAccept | PathRefuse | PathClose | Carry) -> int:
    """Return the label of the PATH_OPEN that a message refers to; 0 if it names none."""
    return 0 if isinstance(message, Carry) else message.opened


class EdgePaths:
    """All path ends of an edge."""

    def __init__(self, me: NodeId, labels: Labels, answerer: Answerer) -> None:
        self._me = me
        self._labels = labels
        self._answerer = answerer
        self._ends: PathTable[PathEnd] = PathTable()
        self._of_link: dict[int, int] = {}
        self._total = 0
        self.refused: Counter[str] = Counter()
        self.on_refused: Callable[[Link, PathOpen, int, str], None] | None = None

    def open(
        self,
        link: Link,
        session: bytes,
        destination: NodeId,
        *,
        marking: int,
        priority: int,
        flows: int,
        cap: int,
        resume: bool,
    ) -> PathEnd:
        """Send a PATH_OPEN and return this edge's end of the path.

        `answered` of the end is done once the path is accepted, and raises PathRefused if it is not. cap: bytes for
        each flow and direction. Raises PathRefused (BUSY) if this edge has too many paths.
        """
        in_label = self._labels.take()
        end = PathEnd(link, session, destination, in_label, flows, cap, marking, priority, initiator=True)
        self._enter(end)
        link.send(
            PathOpen(
                session=session,
                source=self._me.uri,
                destination=destination.uri,
                marking=marking,
                priority=priority,
                flows=flows,
                cap=cap,
                label=end.in_label,
                resume=resume,
                via=(),
            )
        )
        return end

    def accept(
        self, link: Link, asked: PathOpen, source: NodeId, *, flows: int, cap: int, is_candidate: bool = False
    ) -> PathEnd:
        """Accept a path that another edge opened; flows and cap may be less than it asked for.

        Nothing is sent before `accept_told`. Raises PathRefused if the label is taken or there are too many paths.
        """
        if self._ends.find(link.number, asked.session, asked.label) is not None:
            raise PathRefused(Code.VIOLATION, "label_taken", self._me.uri)
        in_label = self._labels.take()
        end = PathEnd(link, asked.session, source, in_label, flows, cap, asked.marking, asked.priority, initiator=False)
        end.out_label = asked.label
        end.via = asked.via
        end.is_candidate = end.stands = is_candidate  # a candidate's session has keys already
        end.answered.set_result(None)
        self._enter(end)
        return end

    def accept_told(self, end: PathEnd) -> None:
        """Send PATH_ACCEPT, once this edge is ready for what comes over the path."""
        end.link.send(
            PathAccept(session=end.session, flows=end.flows, cap=end.cap, label=end.in_label, opened=end.opened)
        )

    def refuse(self, link: Link, asked: PathOpen, code: int, reason: str, *, is_fault: bool = True) -> None:
        """Send PATH_REFUSE; count and report it if it is a fault."""
        link.send(PathRefuse(session=asked.session, code=code, reason=reason, by=self._me.uri, opened=asked.label))
        if is_fault:
            self.refused[reason] += 1
            if self.on_refused is not None:
                self.on_refused(link, asked, code, reason)

    def carry(self, end: PathEnd, data: bytes) -> None:
        """Send bytes of a session's handshake over the path."""
        for start in range(0, len(data), CARRY_LIMIT_BYTES):
            end.link.send(Carry(end.session, data[start : start + CARRY_LIMIT_BYTES]))

    def close(self, end: PathEnd, code: int) -> None:
        """Close a path and send PATH_CLOSE. Closing it twice is harmless."""
        if self._dropped(end):
            end.link.send(PathClose(end.session, code, end.opened))

    def forget(self, end: PathEnd) -> None:
        """Drop a path without a message: the other edge was never told of it."""
        self._dropped(end)

    async def leave(self, end: PathEnd, code: int) -> None:
        """Keep the path of a session that was closed here until the far edge closes it, at most LEAVE_S.

        FLOW_CLOSE travels on the path. A relay that received PATH_CLOSE first would drop FLOW_CLOSE, and the far edge
        would keep the streams of a session that never resumes.
        """
        gone = asyncio.Event()
        end.on_carry = None
        end.on_closed = lambda _: gone.set()
        try:
            async with asyncio.timeout(LEAVE_S):
                await gone.wait()
        except TimeoutError:
            pass
        finally:
            self.close(end, code)

    def receive(self, link: Link, message: Message) -> None:
        """Handle a neighbour's message about paths. One about an unknown path came too late and is ignored."""
        if isinstance(message, PathOpen):
            self._asked(link, message)
            return
        if not isinstance(message, PathAccept | PathRefuse | PathClose | Carry):
            return
        end = self._meant(link, message)
        if end is None:
            return
        if isinstance(message, PathAccept):
            self._accepted(end, message)
        elif isinstance(message, PathRefuse):
            self._refused(end, message)
        elif isinstance(message, PathClose):
            self._lost(end, message.code)
        elif end.on_carry is not None:
            end.on_carry(message.data)

    def restore(self, link: Link, session: bytes, handover: PathHandover) -> PathEnd:
        """Restore a path of the previous process; it stands."""
        end = PathEnd(
            link,
            session,
            NodeId.from_uri(handover.peer),
            handover.in_label,
            handover.flows,
            handover.cap,
            handover.marking,
            handover.priority,
            handover.initiator,
            handover.out_label,
        )
        # An older version did not check these names.
        end.via = handover.via if all(map(is_identity, handover.via)) else ()
        end.stands = True
        end.answered.set_result(None)
        self._enter(end)
        return end

    def labels_handover(self) -> LabelsHandover:
        """Return the hand-over record of the labels."""
        return self._labels.to_handover()

    def restore_labels(self, handover: LabelsHandover) -> None:
        """Restore the labels of the previous process; its paths must have been restored before."""
        self._labels.restore(handover, [end.in_label for end in self._ends])

    def count_over(self, link: Link) -> int:
        """How many paths use a link."""
        return self._of_link.get(link.number, 0)

    def control_lost(self, link: Link) -> None:
        """End the paths that are being set up over this link; paths that stand go on over its lanes."""
        for end in [end for end in self._ends if end.link is link and not end.stands]:
            self._lost(end, Code.UNREACHABLE)

    def link_down(self, link: Link) -> None:
        """End all paths over this link."""
        for end in [end for end in self._ends if end.link is link]:
            self._lost(end, Code.UNREACHABLE)

    def _asked(self, link: Link, asked: PathOpen) -> None:
        try:
            source = NodeId.from_uri(asked.source)
        except NameProblem:
            self.refuse(link, asked, Code.VIOLATION, "malformed")
            return
        if word := sender_refusal(asked, link.peer, link.peer_role):
            self.refuse(link, asked, Code.VIOLATION, word)
        elif not all(map(is_identity, asked.via)):
            self.refuse(link, asked, Code.VIOLATION, "malformed")
        elif asked.destination != self._me.uri:
            self.refuse(link, asked, Code.UNKNOWN, "not_this_edge")
        elif source.realm != self._me.realm or source == self._me:
            self.refuse(link, asked, Code.REFUSED, "wrong_realm")
        else:
            self._answerer.path_asked(link, asked, source)

    def _meant(self, link: Link, message: PathAccept | PathRefuse | PathClose | Carry) -> PathEnd | None:
        """Find the path that a message refers to. Without a label it is the one that stands, never a candidate."""
        if opened := opened_of(message):
            return self._ends.find(link.number, message.session, opened)
        alike = [end for end in self._ends.of(link.number, message.session) if not end.is_candidate]
        is_answer = isinstance(message, PathAccept | PathRefuse)
        return next((end for end in alike if end.answered.done() is not is_answer), alike[0] if alike else None)

    def _enter(self, end: PathEnd) -> None:
        if self._total >= PATHS_MOST:
            self._labels.give_back(end.in_label)
            raise PathRefused(Code.BUSY, "too_many_paths", self._me.uri)
        self._total += 1
        self._ends.enter(end.link.number, end.session, end.opened, end)
        self._of_link[end.link.number] = self.count_over(end.link) + 1

    def _accepted(self, end: PathEnd, message: PathAccept) -> None:
        if not end.initiator or end.answered.done():
            return
        if message.flows > end.flows or message.cap > end.cap:
            self.close(end, Code.VIOLATION)
            end.answered.set_exception(PathRefused(Code.VIOLATION, "more_than_asked", ""))
            return
        end.out_label, end.flows, end.cap = message.label, message.flows, message.cap
        end.answered.set_result(None)

    def _refused(self, end: PathEnd, message: PathRefuse) -> None:
        if not end.initiator or end.answered.done():
            return
        self._dropped(end)
        by = refuser(message.by, end.link.peer, end.link.peer_role)
        end.answered.set_exception(PathRefused(message.code, reason_known(message.reason), by))

    def _lost(self, end: PathEnd, code: int) -> None:
        if not self._dropped(end):
            return
        if not end.answered.done():
            end.answered.set_exception(PathRefused(code, "path_lost", end.link.peer.uri))
            # Retrieve it, so that asyncio does not complain when nobody is waiting any more.
            end.answered.exception()
        elif end.on_closed is not None:
            end.on_closed(code)

    def _dropped(self, end: PathEnd) -> bool:
        if not end.is_open:
            return False
        end.is_open = False
        left = self.count_over(end.link) - 1
        if left:
            self._of_link[end.link.number] = left
        else:
            del self._of_link[end.link.number]
        self._total -= 1
        self._ends.leave(end.link.number, end.session, end.opened)
        self._labels.give_back(end.in_label)
        return True
