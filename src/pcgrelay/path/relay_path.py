"""One path through a relay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from pcgrelay.dataplane.api import PathSpec
from pcgrelay.handover.records import RelayPathHandover
from pcgrelay.link.link import Link
from pcgrelay.messages import PathOpen
from pcgrelay.model import NodeId
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.reasons import is_identity

# CARRY is for handshakes. A path may carry two of the largest at once and little after that, so that nobody uses the
# control plane to transfer data.
CARRY_AT_ONCE_BYTES = 524_288
CARRY_EACH_SECOND_BYTES = 4_096
# The far edge answers a ClientHello, and then the initiator's HELLO: before these two no set-up is complete.
SETUP_ANSWERS = 2


class PathRefusal(Exception):
    """A relay refuses a path. code: of PATH_REFUSE. reason: one word."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(eq=False, slots=True)
class RelayPath:
    """One path through this relay: a is the side of its source, b the onward side.

    a_in, b_in: labels that this relay gave. a_out: the label that a's neighbour gave. cap: bytes for each flow and
    direction.
    """

    number: int
    session: bytes
    source: NodeId
    destination: NodeId
    a: Link
    b: Link
    a_in: int
    a_out: int
    b_in: int
    flows: int
    cap: int
    priority: int
    opened_ms: int
    marking: int
    via: tuple[str, ...]  # the relays before this one, as PATH_OPEN named them
    answers: int = 0  # of the far edge, in handshakes
    is_answered: bool = True  # the last CARRY came from the far edge
    is_live: bool = False
    is_gone: bool = False
    asked: PathOpen | None = None  # until it is accepted: it may be asked for over another link
    tried: frozenset[int] = frozenset()  # numbers of the links over which it was refused
    bucket: TokenBucket = field(init=False)

    def __post_init__(self) -> None:
        self.bucket = TokenBucket(CARRY_AT_ONCE_BYTES, CARRY_EACH_SECOND_BYTES, self.opened_ms)

    def opened(self, link: Link) -> int:
        """The label in the PATH_OPEN on that side, by which the neighbour there identifies this path."""
        return self.a_out if link is self.a else self.b_in

    @property
    def stands(self) -> bool:
        """Whether a session may have been set up on it, as far as a relay can tell."""
        return self.is_live and self.answers >= SETUP_ANSWERS

    def carried(self, link: Link) -> None:
        """Note a CARRY from that link. Several messages in a row from the far edge count as one answer."""
        if link is self.b and not self.is_answered:
            self.answers += 1
        self.is_answered = link is self.b

    def spec(self, b_out: int) -> PathSpec:
        """Return the path for the core. b_out: the label that the onward neighbour gave."""
        return PathSpec(
            a_link=self.a.number,
            a_in=self.a_in,
            a_out=self.a_out,
            b_link=self.b.number,
            b_in=self.b_in,
            b_out=b_out,
            cap=self.cap,
            priority=self.priority,
        )

    def other(self, link: Link) -> Link:
        """The link on the other side."""
        return self.b if link is self.a else self.a

    def may_carry(self, size: int, now_ms: int) -> bool:
        """Count so many carried bytes; whether they are within the limit."""
        return not self.bucket.owe(size, now_ms)

    @classmethod
    def restored(cls, handover: RelayPathHandover, links: Mapping[int, Link]) -> Self:
        """Make the path that a hand-over record describes. links: by number; both of its links are among them."""
        return cls(
            number=handover.number,
            session=handover.session,
            source=NodeId.from_uri(handover.source),
            destination=NodeId.from_uri(handover.destination),
            a=links[handover.a],
            b=links[handover.b],
            a_in=handover.a_in,
            a_out=handover.a_out,
            b_in=handover.b_in,
            flows=handover.flows,
            cap=handover.cap,
            priority=handover.priority,
            opened_ms=handover.opened_ms,
            marking=handover.marking,
            # An older version did not check these names.
            via=handover.via if all(map(is_identity, handover.via)) else (),
            answers=SETUP_ANSWERS,  # an unfinished set-up cannot go on: its control connection is lost
            is_live=True,
        )

    def to_handover(self) -> RelayPathHandover:
        """Return the hand-over record of this path."""
        return RelayPathHandover(
            number=self.number,
            session=self.session,
            source=self.source.uri,
            destination=self.destination.uri,
            a=self.a.number,
            b=self.b.number,
            a_in=self.a_in,
            a_out=self.a_out,
            b_in=self.b_in,
            flows=self.flows,
            cap=self.cap,
            priority=self.priority,
            opened_ms=self.opened_ms,
            marking=self.marking,
            via=self.via,
        )
