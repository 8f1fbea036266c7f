"""Loops inside the core, for benches only: what Python would add to each call is not what they measure."""

from typing import Self, final

from tests.native.probe_link import Node

@final
class Frames:
    """A ring of `count` frames with bodies of `size` bytes. Open only what the same kind of call sealed before."""

    def __new__(cls, suite: int, size: int, count: int) -> Self: ...
    def seal_bare(self) -> None:
        """EVP alone, its context and key kept: the bodies."""
    def open_bare(self) -> None: ...
    def seal_body(self) -> None:
        """The bodies through the core's AEAD."""
    def open_body(self) -> None: ...
    def seal(self) -> None:
        """Whole frames: body and header."""
    def open(self) -> None: ...

def carry(near: Node, relay: Node | None, far: Node, *, session: int, links: list[int], size: int, frames: int) -> int:
    """Send frames with one DATA record of `size` bytes each; answer how many bytes of data arrived.

    relay: or None. links: that of near, and with a relay that of far. Lanes and session are up.
    """
