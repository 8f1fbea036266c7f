"""Paths that were asked for sessions which others began here, until the other edge speaks over them.

The id of a session is no secret: a relay that once carried it knows it, and may ask for a path in the initiator's name.
So a session keeps the path that it has. What is asked for is a candidate: the core leads the flows over it as soon as
a RESUME opens that came over it, which proves the keys, and closes no other before. There are a few at once and each
has its time, so that who asks again and again gains nothing; one that came another way than most is not displaced.
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
        """take: leads a session over a path from now on."""
        self.paths: EdgePaths
        self._table = table
        self._plane = plane
        self._take = take

    def asked(self, session: Session | None, link: Link, asked: PathOpen, source: NodeId) -> None:
        """Somebody opens a new path for a session that it says is ours."""
        # The identity is the one that the session's handshake proved; a path in another's name is no path.
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
        """The other edge speaks over a candidate, and the core follows it: that is the path."""
        end = next((end for end in session.candidates if end.in_label == in_label), None)
        if end is None:
            return  # another worker has said so already, or it ended just now
        session.candidates.remove(end)
        end.is_candidate = False
        with suppress(DataPlaneRefused):  # the core has ended the session, and says so
            self._take(session, end)
        session.changed.set()

    def forget(self, session: Session, code: int) -> None:
        """The session is gone."""
        for end in session.candidates:
            self.paths.close(end, code)
        session.candidates.clear()

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
    """The oldest of those that came the way which most come, if one more comes that way.

    Only the last steps of a way are attested: by the link, and from there by each node that speaks the truth. So who
    asks much displaces first what it asked for itself.
    """
    among = [(end.way, end) for end in ends]
    ways = [each.way for each in ends] + [way]
    for depth in range(max(map(len, ways))):
        steps = [each[depth : depth + 1] for each in ways]
        fullest = max(steps, key=steps.count)
        ways = [each for each, step in zip(ways, steps, strict=True) if step == fullest]
        among = [each for each in among if each[0][depth : depth + 1] == fullest]
    return among[0][1]
