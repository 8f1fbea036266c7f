"""What waits for the thread that writes the audit log, in its order. The event loop queues, the thread takes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from pcgrelay.audit.ended import QueuedEnded
from pcgrelay.audit.lines import Queued, body_of

Request = Callable[[], None]  # what the thread is asked besides records
Item = Queued | QueuedEnded | bytes | Request  # bytes: the body of a line, of another process


class WriteQueue:
    """Records and requests. Each of its numbers is written by one of the two alone."""

    def __init__(self) -> None:
        self.queued = 0  # items ever
        self._items: deque[Item] = deque()
        self._records = 0  # that were queued,
        self.taken = 0  # and of these, those that the thread has taken
        self.handled = 0  # items that it has taken

    def __bool__(self) -> bool:
        return bool(self._items)

    @property
    def waiting(self) -> int:
        """Records that wait."""
        return self._records - self.taken

    @property
    def is_request_next(self) -> bool:
        """Whether the first item is a request."""
        return bool(self._items) and callable(self._items[0])

    def put(self, item: Item) -> None:
        """Add records or a request at the end."""
        self._items.append(item)
        self.queued += 1
        self._records += records_in(item)

    def restore(self, bodies: Sequence[bytes]) -> None:
        """Put first what another process had queued; the thread has not begun."""
        self._items.extendleft(reversed(bodies))
        self.queued += len(bodies)
        self._records += len(bodies)

    def take(self, most: int) -> list[Queued | bytes]:
        """Take records up to the first request, about so many."""
        records: list[Queued | bytes] = []
        while self._items and len(records) < most and not self.is_request_next:
            item = self._items.popleft()
            self.taken += records_in(item)
            self.handled += 1
            if isinstance(item, QueuedEnded):
                records += item.bodies()
            elif not callable(item):
                records.append(item)
        return records

    def take_request(self) -> Request | None:
        """Take the first item if it is a request."""
        if not self.is_request_next:
            return None
        item = self._items.popleft()
        self.handled += 1
        return item if callable(item) else None

    def bodies(self) -> Iterator[bytes]:
        """Encode all records that wait; requests are left out."""
        for item in self._items:
            if isinstance(item, QueuedEnded):
                yield from item.bodies()
            elif not callable(item):
                yield item if isinstance(item, bytes) else body_of(item)


def records_in(item: Item) -> int:
    """Return how many records an item stands for."""
    if isinstance(item, QueuedEnded):
        return item.ended.count
    return 0 if callable(item) else 1
