"""What a node says of itself in the store, and what it is ordered to do: the bodies of two kinds of values."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from pcgrelay.fleet import values
from pcgrelay.fleet.values import SignedValue
from pcgrelay.model import NodeId
from pcgrelay.ranges import Seconds, Timestamp

T = TypeVar("T")

UPGRADE = "upgrade"
Word = Annotated[str, Meta(max_length=64)]
Number = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class NodeReport(Struct, frozen=True, kw_only=True):
    """The report of a node, under its lease. Times are Unix times in seconds."""

    process: Word  # of this process alone, at random
    role: Word
    version: Word
    at_s: Seconds
    condition: Word = ""  # as status says it
    ready: bool = False  # it takes new work
    draining: bool = False
    streams: Number = 0  # of an edge; of a relay paths
    load_percent: Number = 0  # of one core, all threads together
    certificate_end_s: Timestamp = 0
    order: Number = 0  # token of the order that was not done last
    order_reason: Annotated[str, Meta(max_length=300)] = ""  # and why it was not

    def tells_more(self, other: NodeReport) -> bool:
        """Return whether it differs from an earlier one in more than figures, which change all the time."""
        return (
            msgspec.structs.replace(self, at_s=other.at_s, streams=other.streams, load_percent=other.load_percent)
            != other
        )


class Order(Struct, frozen=True, kw_only=True):
    """An order to a node, by who holds the lock with that token. It is for one process: the next one has done it."""

    act: Word
    process: Word
    token: Number


def order_key(node: NodeId) -> str:
    """Return the key of an order to a node."""
    return f"{values.ORDERS}/{node.organisation}/{node.name}/{UPGRADE}"


def read_body(value: SignedValue, kind: type[T]) -> T | None:
    """Return the body of a value; None: it is none of that kind."""
    try:
        return msgspec.msgpack.decode(value.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
