"""When an edge gives its tables to the core: at once, or once for all that changes in a turn of the loop.

The core takes tables whole or refuses them, and then goes on with those before. That is counted and told, and they are
given again each second, for nobody else would notice that the core serves by old rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from pcgrelay.audit.record import Failure, Say

TABLES_REFUSED = "tables_refused"


class Publishing:
    """The moments at which one edge publishes."""

    def __init__(self, publish: Callable[[], None], refuse_count: Callable[[str], None], say: Say) -> None:
        """publish gives the core everything as it is now; it raises DataPlaneRefused if that is not taken."""
        self._publish = publish
        self._refuse_count = refuse_count
        self._say = say
        self._waits = False
        self.has_failed = False  # what the core has is older than it should be

    def now(self) -> None:
        """Publish, or raise what is wrong."""
        self._waits = False
        self._publish()
        self.has_failed = False

    def attempt(self) -> None:
        """Publish; if that fails it is told, and done again."""
        try:
            self.now()
        except Exception as error:
            self._refuse_count(TABLES_REFUSED)
            if not self.has_failed:
                self._say(Failure(where="tables", error=type(error).__name__))
            self.has_failed = True

    def soon(self) -> None:
        """Publish at the end of this turn of the loop."""
        if not self._waits:
            self._waits = True
            asyncio.get_running_loop().call_soon(self._if_waiting)

    def _if_waiting(self) -> None:
        if self._waits:
            self.attempt()
