"""Associations as Python sees them: the clients of a listener, and what waits for a flow. For tests only."""

from typing import Final, Self, final

from pcgrelay._core.face.core import Core

DROPS: Final[int]
CLIENT: Final[int]
LOCAL: Final[int]

def turn(core: Core, worker: int) -> None:
    """Have one worker of a node that stands still take one turn, with what is there now."""

def client_name(address: bytes) -> bytes:
    """A socket address of 28 bytes as a client is known by it."""

def serves(prefixes: list[tuple[int, bytes, int]], client: bytes) -> bool:
    """Whether an import with these prefixes, each (family, 16 bytes, bits), serves a client."""

def is_late(unlistened: list[int], at: int, number: int) -> bool:
    """Whether a batch of import `number`, read when `at` orders UNLISTEN were carried out, is late after these."""

def batched(handings: list[tuple[int, bytes, bytes, bytes]], worker: int) -> list[tuple[bytes, bytes, bytes, int]]:
    """What a worker finds in a batch of these, each (worker, client, local, datagram): client, local, datagram, place.

    place: the address of the client's name, modulo 4.
    """

@final
class Associations:
    """Those of one listener, with open streams of one flow. Each has a number, which is that of its stream."""

    def __new__(cls, *, limit: int = 1 << 24, collide: bool = False) -> Self: ...
    @property
    def used(self) -> int: ...
    def at(self, now_us: int) -> None:
        """Set the time."""
    def begin(self, number: int, client: bytes, local: bytes, wait_us: int = 200_000) -> bool: ...
    def end(self, number: int) -> tuple[int, int, tuple[int, ...]]:
        """Datagrams sent and received, and those that were dropped by cause."""
    def find(self, client: bytes, local: bytes) -> int | None: ...
    def use(self, number: int) -> None: ...
    def by_use(self) -> list[int]:
        """The numbers of all, the one used last first; and so backwards, turned round."""
    def of_source(self, client: bytes) -> list[int]:
        """The same of the clients with the address of this one."""
    def may_begin(self, each_second: int) -> bool:
        """Whether a new one is within this rate now; it is then counted."""
    def push(self, number: int, data: bytes) -> None: ...
    def waiting(self, number: int) -> tuple[int, int]:
        """Datagrams, and their bytes."""
    def expire(self) -> None: ...
    def room(self, most: int) -> int: ...
    def fill(self, room: int) -> tuple[bytes, int]:
        """The records of a frame, and how many there are."""
