"""The table of sessions, as its parts see it: they look for paths, renew and lead away what stands in it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator
from typing import Any, Protocol

from pcgrelay.path.edge import PathEnd
from pcgrelay.session.session import Key, Session


class SessionTable(Protocol):
    """All sessions of an edge. `table` has the real one; tests bring their own."""

    def __iter__(self) -> Iterator[Session]: ...
    def close(self, session: Session, code: int, reason: str) -> None:
        """End a session from this side."""

    def count(self, reason: str) -> None:
        """Count a refusal under its one word."""

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> object:
        """A task that ends with the sessions. Its failure is logged and goes no further."""

    def path_taken(self, session: Session, end: PathEnd) -> None:
        """A session with keys is led over this path from now on."""


class SessionObserver(Protocol):
    """Who is told of sessions."""

    def session_added(self, session: Session) -> None: ...
    def sessions_changed(self, key: Key) -> None: ...
    def is_shut_out(self) -> bool:
        """Whether all neighbours refuse this node, so that no path can come."""
