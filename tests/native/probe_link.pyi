"""Lanes as Python sees them, with neither thread nor socket nor clock, and a relay. For tests and benches only."""

from typing import Final, Self, final

from typing_extensions import disjoint_base

LANE_STATES: Final[tuple[str, ...]]
DAY_US: Final[int]

class Closed(Exception):
    """The lane is closed; nothing can be fed to it."""

@final
class Lane:
    """One lane of a node. `reason` is why it closed."""

    @property
    def reason(self) -> str | None: ...
    @property
    def state(self) -> str: ...
    @property
    def said(self) -> bytes:
        """What it sent when it was closed."""
    @property
    def epochs(self) -> tuple[int, int]:
        """Of what it sends and of what it receives."""
    @property
    def backlog(self) -> int: ...
    def feed(self, data: bytes) -> None:
        """Bytes came. A refusal closes the lane; `reason` then says why."""
    def take(self, limit: int = 1 << 40) -> bytes:
        """Bytes that the lane would send now, at most limit of them; they are gone from it."""
    def fill(self) -> str:
        """Seal what waits, and let nothing come of it if that fails; answer how it went."""
    @property
    def wire_bytes(self) -> int:
        """Sealed and unsent."""
    def cut(self) -> None:
        """TCP failed."""
    def close(self, code: int = 0) -> bytes:
        """Close it in order; answer the last bytes."""
    def pace(self, sent: int, full: bool) -> int: ...
    @property
    def pings(self) -> tuple[int, int]: ...
    def say(self, kind: int, body: bytes) -> None:
        """Send any lane frame, well formed or not."""

@disjoint_base
class Node:
    """One worker's share of a node, whatever its role."""

    def __new__(cls, *, memory: int = 64 << 20, reserve: int = 4 << 20, workers: int = 1, index: int = 0) -> Self: ...
    @property
    def now_us(self) -> int: ...
    @now_us.setter
    def now_us(self, now_us: int) -> None: ...
    def limits(self, frames: int, octets: int, age_us: int) -> None:
        """When keys are stepped."""
    @property
    def memory(self) -> tuple[int, int]:
        """Used now, and at most so far."""
    def counted(self, which: int) -> int:
        """A counter, by its place in stats.pxd."""
    def refused(self) -> dict[str, int]: ...
    def events(self) -> list[tuple[object, ...]]:
        """What the control plane would be told: the kind, and what mailbox.pxd has for it."""
    def link_add(self, link: int, *, suite: int, dialler: bool, lanes: int, binding: bytes) -> None: ...
    def link_stats(self, link: int) -> dict[str, int]:
        """What `Core.links` says of it."""
    def link_renew(self, link: int, mix: int, secret: bytes) -> None: ...
    def link_mix(self, link: int, mix: int) -> None: ...
    def lane_start(self, link: int, *, index: int, number: int, secret: bytes) -> Lane: ...
    def turn(self) -> None:
        """Look at what is due."""

@final
class Relay(Node):
    """A relay: what comes on one link goes out on another, or is lost."""

    def path_add(
        self,
        path: int,
        *,
        a_link: int,
        a_in: int,
        a_out: int,
        b_link: int,
        b_in: int,
        b_out: int,
        cap: int,
        priority: int = 0,
        lanes: int = 1,
    ) -> None: ...
    def path_remove(self, path: int) -> None: ...
