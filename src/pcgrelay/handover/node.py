"""All that a node's control plane leaves to the process that takes its place, in one record (docs/decisions/0009)."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from pcgrelay.errors import RunError
from pcgrelay.handover.records import EntryHandover, LabelsHandover, LinkHandover, RelayPathHandover, SessionHandover

VERSION = 2  # 2: renewals, and where links were dialled or came in
LEAST = 1  # the oldest that is read


class ServiceHandover(Struct, frozen=True, kw_only=True):
    """An import or export, under the number that the core knows it by."""

    number: int
    service: str
    listen: str = ""  # of an import
    is_open: bool = False
    target: str = ""  # of an export,
    addresses: tuple[tuple[str, int], ...] = ()  # and where that led
    opened_total: int = 0
    refused_total: int = 0


class StreamCountsHandover(Struct, frozen=True, kw_only=True):
    """Counts of streams."""

    opened_total: int = 0
    closed_total: dict[str, int] = {}
    refused_total: dict[str, int] = {}


class SeenHandover(Struct, frozen=True, kw_only=True):
    """Somebody who is known: a neighbour by identity, bearer and listener, or an exporter by service and identity."""

    names: tuple[str, ...]
    away_ms: int = 0  # since when, on the monotonic clock; 0: there


class NodeHandover(Struct, frozen=True, kw_only=True):
    """A node. What only one role has is empty for the other."""

    started_ms: int
    links: tuple[LinkHandover, ...] = ()
    entries: tuple[EntryHandover, ...] = ()
    labels: LabelsHandover = LabelsHandover()
    sessions: tuple[SessionHandover, ...] = ()
    last_session: int = 0
    relay_paths: tuple[RelayPathHandover, ...] = field(default=(), name="forwards")
    last_relay_path: int = field(default=0, name="last_forward")
    imports: tuple[ServiceHandover, ...] = ()
    exports: tuple[ServiceHandover, ...] = ()
    stream_counts: StreamCountsHandover = field(default=StreamCountsHandover(), name="tally")
    member_sources: tuple[str, ...] = ()  # from where members came, which no flood is to keep out
    refused: dict[str, dict[str, int]] = {}  # by the part that counts
    members: tuple[SeenHandover, ...] = ()
    exporters: tuple[SeenHandover, ...] = ()


def encode_handover(handover: NodeHandover) -> bytes:
    """The record as it is handed over."""
    return msgspec.msgpack.encode(handover)


def decode_handover(data: bytes) -> NodeHandover:
    """A record that was handed over; RunError if it is none."""
    try:
        return msgspec.msgpack.decode(data, type=NodeHandover)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"The state of the running node cannot be read ({error}); restart it instead.") from None
