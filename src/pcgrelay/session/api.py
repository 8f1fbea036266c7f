"""The interfaces between the session table, its parts (recovery, migration, renewal) and the observer of sessions."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

from pcgrelay.link.link import Link
from pcgrelay.path.edge import PathEnd
from pcgrelay.session.session import Key, Session


class SessionTable(Protocol):
    """All sessions of an edge, as recovery, migration and renewal use them. Implemented in `table`, and by tests."""

    def __iter__(self) -> Iterator[Session]: ...
    def close(self, session: Session, code: int, reason: str) -> None:
        """End a session from this side."""

    def count(self, reason: str) -> None:
        """Count a refusal by its reason."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> object:
        """Start a task that is cancelled when the sessions stop. An exception in it is logged, and goes no further."""

    def path_taken(self, session: Session, end: PathEnd) -> None:
        """Note that a session that has keys uses this path from now on."""


class SessionObserver(Protocol):
    """Observer of the session table."""

    def session_added(self, session: Session) -> None: ...
    def sessions_changed(self, key: Key) -> None: ...
    def path_refused(self, key: Key, link: Link, reason: str) -> None:
        """Note that a path of such a session over that link was refused, with this reason."""

    def is_barred(self, key: Key) -> bool:
        """Whether nothing but clearances keeps such a session from a path."""

    def awaits_way(self, key: Key) -> bool:
        """Whether a cleared path of such a session may be possible in a moment, over a link that is made anew."""

    def may_carry(self, session: Session, end: PathEnd) -> bool:
        """Whether a path of a session is cleared for it now, as far as this edge knows."""

    def is_shut_out(self) -> bool:
        """Whether all neighbours refuse this node, so that no path can be opened to it."""
