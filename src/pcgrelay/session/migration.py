"""Moving sessions off a link that drains, was replaced, is worse than another, lost its lanes, or is not cleared."""

from __future__ import annotations

from collections.abc import Callable

from pcgrelay.clock import Clock
from pcgrelay.link.link import Link
from pcgrelay.messages import Code
from pcgrelay.path.edge import PathEnd
from pcgrelay.session.api import SessionTable
from pcgrelay.session.recovery import ChooseLink, PathRecovery
from pcgrelay.session.session import Key, Session, State

SPARE_MS = 1_000


class PathMigration:
    """Moves the sessions of an edge to other links, with all their streams."""

    def __init__(self, table: SessionTable, recovery: PathRecovery, choose: ChooseLink, clock: Clock) -> None:
        self._table = table
        self._recovery = recovery
        self._choose = choose
        self._clock = clock

    def link_drains(self, link: Link) -> None:
        """Move the sessions on a link that has begun to drain. Only the initiator moves a session."""
        for session in list(self._table):
            if session.initiator and session.state is State.UP and session.path and session.path.link is link:
                self._recovery.mend(session)

    def lane_lost(self, link: Link) -> None:
        """Wake the sessions that are resuming over this link, so that they try another one at once."""
        for session in self._table:
            if session.mending and session.path is not None and session.path.link is link:
                session.changed.set()

    def judge(self, may_carry: Callable[[Session, PathEnd], bool]) -> None:
        """Leave the paths that may not carry their sessions any more, after clearances have changed."""
        for session in list(self._table):
            if session.state in (State.STARTING, State.UP, State.STALLED):
                self._recovery.judge(session, may_carry)

    def replaced(self) -> None:
        """Move the sessions whose link was replaced by a newer one, once the newer one reaches their edges."""
        for session in list(self._table):
            path = session.path
            if session.initiator and session.state is State.UP and path is not None and path.link.replaced:
                other = self._choose(session.key, path.link)
                if other is not None and other is not path.link:
                    self._recovery.mend(session)

    def move_back(self, is_better: Callable[[Key, Link], bool]) -> None:
        """Move sessions to a better link if there is one; called once a second."""
        for session in list(self._table):
            path = session.path
            if not session.initiator or session.state is not State.UP or session.mending or path is None:
                continue
            if path.link.usable and is_better(session.key, path.link):
                self._recovery.mend(session)

    def draining(self, streams: Callable[[int], int]) -> None:
        """Move sessions off draining links, and close idle ones that have no other link; called once a second.

        A draining relay so becomes empty even where no other route exists. streams: the open streams of a session, by
        its number.
        """
        now = self._clock.monotonic_ms()
        for session in list(self._table):
            path = session.path
            if session.state is not State.UP or path is None or not path.link.draining or session.mending:
                session.spare_ms = None
                continue
            other = self._choose(session.key, path.link)
            if session.initiator and other is not None and other is not path.link:
                # Another link has come up since the neighbour began to drain.
                session.spare_ms = None
                self._recovery.mend(session)
            elif streams(session.number) or path.link.replaced:
                session.spare_ms = None
            elif session.spare_ms is None:
                session.spare_ms = now
            elif now - session.spare_ms >= (SPARE_MS if session.initiator else 3 * SPARE_MS):
                self._table.close(session, Code.DRAINING, "drained")
