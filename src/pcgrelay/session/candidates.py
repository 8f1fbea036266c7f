"""Candidate paths of sessions that the other edge began, until a RESUME arrives over one (docs/protocol.md, 9.5).

The id of a session is no secret: a relay that once carried the session knows it and may open a path in the initiator's
name. A session therefore keeps the path that it has, and the new path is only a candidate. The core moves the flows to
a candidate when a RESUME that came over it opens, which proves the keys; until then it closes no other path. The number
of candidates is limited and each expires, so that repeated requests gain nothing. When one has to go, it is one of
those that came over the most common route.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from pcgrelay.dataplane.api import DataPlaneRefused, SessionPlane
from pcgrelay.link.link import Link
from pcgrelay.messages import Code, PathOpen
from pcgrelay.model import NodeId
from pcgrelay.path.edge import EdgePaths, PathEnd, PathRefused
from pcgrelay.session.api import SessionTable
from pcgrelay.session.session import Key, Session, State

CANDIDATES_MOST = 4
CANDIDATE_S = 5.0
_RESUMABLE = (State.UP, State.STALLED, State.STARTING)


class Candidates:
    """The candidates of all sessions of an edge."""

    def __init__(self, table: SessionTable, plane: SessionPlane, take: Callable[[Session, PathEnd], None]) -> None:
        """take: switch a session to a path."""
        self.paths: EdgePaths
        self._table = table
        self._plane = plane
        self._take = take

    def asked(self, session: Session | None, link: Link, asked: PathOpen, source: NodeId) -> None:
        """Handle a PATH_OPEN that resumes a session: add a candidate, or refuse it.

        session: the one with the id in PATH_OPEN, if there is one. source: the edge that PATH_OPEN names.
        """
        # The session's handshake proved its peer: a request in another edge's name does not belong to the session.
        if session is None or session.initiator or session.key.edge != source:
            self.paths.refuse(link, asked, Code.UNKNOWN, "unknown_session")
        elif session.state not in _RESUMABLE:
            self.paths.refuse(link, asked, Code.BUSY, "not_up")
        elif Key(source, asked.marking, asked.priority) != session.key:
            self.paths.refuse(link, asked, Code.VIOLATION, "wrong_class")
        elif asked.flows < session.flows or asked.cap < session.cap:
            self.paths.refuse(link, asked, Code.LIMIT, "path_too_small")
        else:
            self._added(session, link, asked, source)

    def moved(self, session: Session, in_label: int) -> None:
        """Make a candidate the path of its session: the other edge resumed over it, and the core has followed."""
        end = next((end for end in session.candidates if end.in_label == in_label), None)
        if end is None:
            return  # another worker has reported it already, or it ended just now
        for before in session.candidates[: session.candidates.index(end)]:
            # The other edge asks for one path after the other, and has left those that came earlier. A worker that has
            # not heard so may still report that it moved there.
            self._ended(session, before, Code.DONE)
        session.candidates.remove(end)
        end.is_candidate = False
        with suppress(DataPlaneRefused):  # the core has ended the session; its event follows
            self._take(session, end)
        session.changed.set()

    def forget(self, session: Session, code: int) -> None:
        """Close the candidates of a session that has ended."""
        for end in session.candidates:
            self.paths.close(end, code)
        session.candidates.clear()

    def judge(self, session: Session, may_carry: Callable[[PathEnd], bool]) -> None:
        """Close the candidates that may not carry a session any more."""
        for end in list(session.candidates):
            if not may_carry(end):
                self._ended(session, end, Code.REFUSED)

    def _added(self, session: Session, link: Link, asked: PathOpen, source: NodeId) -> None:
        if len(session.candidates) >= CANDIDATES_MOST:
            self._table.count("candidate_displaced")
            way = (str(link.number), *reversed(asked.via))
            self._ended(session, first_to_go(session.candidates, way), Code.BUSY)
        try:
            end = self.paths.accept(link, asked, source, flows=session.flows, cap=session.cap, is_candidate=True)
        except PathRefused as refused:
            self.paths.refuse(link, asked, refused.code, refused.reason)
            return
        try:
            self._plane.session_candidate(
                session.number, link=link.number, in_label=end.in_label, out_label=end.out_label
            )
        except DataPlaneRefused:
            self.paths.forget(end)
            self.paths.refuse(link, asked, Code.BUSY, "no_place")
            return
        session.candidates.append(end)
        end.on_closed = lambda _: self._lost(session, end)
        asyncio.get_running_loop().call_later(CANDIDATE_S, self._expired, session, end)
        self.paths.accept_told(end)

    def _expired(self, session: Session, end: PathEnd) -> None:
        if end in session.candidates:
            self._table.count("candidate_expired")
            self._ended(session, end, Code.TIMEOUT)

    def _ended(self, session: Session, end: PathEnd, code: int) -> None:
        self._lost(session, end)
        self.paths.close(end, code)

    def _lost(self, session: Session, end: PathEnd) -> None:
        if end in session.candidates:
            session.candidates.remove(end)
            with suppress(DataPlaneRefused):
                self._plane.session_candidate_drop(session.number, end.in_label)


def first_to_go(ends: Sequence[PathEnd], way: tuple[str, ...]) -> PathEnd:
    """Choose the candidate to drop: the oldest on the most common route, counting one more that comes by `way`.

    Routes are compared step by step from this edge outwards. Only the nearest steps are attested: the first by the
    link, each further one by an honest node before it. An attacker that sends many requests therefore displaces its
    own first.
    """
    among = [(end.way, end) for end in ends]
    ways = [each.way for each in ends] + [way]
    for depth in range(max(map(len, ways))):
        steps = [each[depth : depth + 1] for each in ways]
        fullest = max(steps, key=steps.count)
        ways = [each for each, step in zip(ways, steps, strict=True) if step == fullest]
        among = [each for each in among if each[0][depth : depth + 1] == fullest]
    return among[0][1]
