"""Paths by link, and by the session id and label of their PATH_OPEN (docs/protocol.md, 9.5).

Session ids are known to every node that once carried the session. An id that appears again is therefore another path
and replaces none: only the label, which its sender gives once, says which path is meant. An older neighbour, and CARRY,
name no label and mean the path that stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

P = TypeVar("P")


class PathTable(Generic[P]):
    """A table of paths; those of one session on one link are in the order in which they came."""

    def __init__(self) -> None:
        self._paths: dict[tuple[int, bytes], dict[int, P]] = {}

    def enter(self, link: int, session: bytes, opened: int, path: P) -> None:
        """Add a path, under a label that `find` does not know."""
        self._paths.setdefault((link, session), {})[opened] = path

    def leave(self, link: int, session: bytes, opened: int) -> None:
        """Remove a path. KeyError: there is none."""
        alike = self._paths[link, session]
        del alike[opened]
        if not alike:
            del self._paths[link, session]

    def find(self, link: int, session: bytes, opened: int) -> P | None:
        """The path that was opened with that label, or None."""
        return self._paths.get((link, session), {}).get(opened)

    def of(self, link: int, session: bytes) -> tuple[P, ...]:
        """The paths of a session on a link, the oldest first."""
        return tuple(self._paths.get((link, session), {}).values())

    def __iter__(self) -> Iterator[P]:
        """Iterate over the paths; a path is given once for each link that it was added under."""
        return iter([path for alike in self._paths.values() for path in alike.values()])

    def __bool__(self) -> bool:
        return bool(self._paths)
