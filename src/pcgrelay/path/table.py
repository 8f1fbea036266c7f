"""Paths by what their PATH_OPEN said on a link: the session's id, and the label (docs/protocol.md, 9.5).

Ids of sessions are known to every node that once carried them. So an id that appears again is another path and takes
the place of none: only the label, which its giver gives once, says which path is meant. An older neighbour, and CARRY,
name no label, and mean the path that stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

P = TypeVar("P")


class PathTable(Generic[P]):
    """Paths of any kind; those of one session on one link in the order in which they came."""

    def __init__(self) -> None:
        self._paths: dict[tuple[int, bytes], dict[int, P]] = {}

    def enter(self, link: int, session: bytes, opened: int, path: P) -> None:
        """Have a path, under a label that `find` does not know."""
        self._paths.setdefault((link, session), {})[opened] = path

    def leave(self, link: int, session: bytes, opened: int) -> None:
        """Have it no more."""
        alike = self._paths[link, session]
        del alike[opened]
        if not alike:
            del self._paths[link, session]

    def find(self, link: int, session: bytes, opened: int) -> P | None:
        """The path that was opened with that label."""
        return self._paths.get((link, session), {}).get(opened)

    def of(self, link: int, session: bytes) -> tuple[P, ...]:
        """The paths of a session on a link, the oldest first."""
        return tuple(self._paths.get((link, session), {}).values())

    def __iter__(self) -> Iterator[P]:
        """Each path, once for each link that it is entered under."""
        return iter([path for alike in self._paths.values() for path in alike.values()])

    def __bool__(self) -> bool:
        return bool(self._paths)
