"""Sessions that leave a link: it goes, was replaced, is worse, or does not answer them."""

from __future__ import annotations

from collections.abc import Callable

from pcgrelay.clock import Clock
from pcgrelay.link.link import Link
from pcgrelay.messages import Code
from pcgrelay.model import NodeId
from pcgrelay.session.api import SessionTable
from pcgrelay.session.recovery import ChooseLink, PathRecovery
from pcgrelay.session.session import State

SPARE_MS = 1_000


class PathMigration:
    """Leads the sessions of an edge over other links before theirs goes."""

    def __init__(self, table: SessionTable, recovery: PathRecovery, choose: ChooseLink, clock: Clock) -> None:
        self._table = table
        self._recovery = recovery
        self._choose = choose
        self._clock = clock

    def link_drains(self, link: Link) -> None:
        """Lead sessions over other links before this one goes."""
        for session in list(self._table):
            if session.initiator and session.state is State.UP and session.path and session.path.link is link:
                self._recovery.mend(session)

    def lane_lost(self, link: Link) -> None:
        """Sessions that are to resume over this link look for another way, and wait for no answer."""
        for session in self._table:
            if session.mending and session.path is not None and session.path.link is link:
                session.changed.set()

    def replaced(self) -> None:
        """Move sessions whose link was replaced by a newer one, as soon as that leads to their edges."""
        for session in list(self._table):
            path = session.path
            if session.initiator and session.state is State.UP and path is not None and path.link.replaced:
                other = self._choose(session.key.edge, path.link)
                if other is not None and other is not path.link:
                    self._recovery.mend(session)

    def move_back(self, is_better: Callable[[NodeId, Link], bool]) -> None:
        """Once a second: lead sessions over a better link if there is one, with all their streams."""
        for session in list(self._table):
            path = session.path
            if not session.initiator or session.state is not State.UP or session.mending or path is None:
                continue
            if path.link.usable and is_better(session.key.edge, path.link):
                self._recovery.mend(session)

    def draining(self, streams: Callable[[int], int]) -> None:
        """Once a second: move sessions off links that drain, and end those without a stream that have no other way.

        So a relay that drains comes to be empty even if there is no other way. streams: how many a session has.
        """
        now = self._clock.monotonic_ms()
        for session in list(self._table):
            path = session.path
            if session.state is not State.UP or path is None or not path.link.draining or session.mending:
                session.spare_ms = None
                continue
            other = self._choose(session.key.edge, path.link)
            if session.initiator and other is not None and other is not path.link:
                # A way has come up since the neighbour began to leave.
                session.spare_ms = None
                self._recovery.mend(session)
            elif streams(session.number) or path.link.replaced:
                session.spare_ms = None
            elif session.spare_ms is None:
                session.spare_ms = now
            elif now - session.spare_ms >= (SPARE_MS if session.initiator else 3 * SPARE_MS):
                self._table.close(session, Code.DRAINING, "drained")
