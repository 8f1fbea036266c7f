"""The whole state of a node's control plane in one hand-over record (docs/decisions/0009)."""

from __future__ import annotations

import msgspec
from msgspec import Struct, field

from pcgrelay.errors import RunError
from pcgrelay.handover.records import EntryHandover, LabelsHandover, LinkHandover, RelayPathHandover, SessionHandover

VERSION = 2  # 2: adds renewals, and the addresses of links
LEAST = 1  # the oldest version that is read


class ServiceHandover(Struct, frozen=True, kw_only=True):
    """An import or export, with the number by which the core knows it."""

    number: int
    service: str
    listen: str = ""  # of an import
    is_open: bool = False
    target: str = ""  # of an export,
    addresses: tuple[tuple[str, int], ...] = ()  # and the addresses that it resolved to
    opened_total: int = 0
    refused_total: int = 0


class StreamCountsHandover(Struct, frozen=True, kw_only=True):
    """Counts of streams."""

    opened_total: int = 0
    closed_total: dict[str, int] = {}
    refused_total: dict[str, int] = {}


class SeenHandover(Struct, frozen=True, kw_only=True):
    """A known peer: a neighbour by identity, bearer and listener, or an exporter by service and identity."""

    names: tuple[str, ...]
    away_ms: int = 0  # since when, on the monotonic clock; 0: present


class NodeHandover(Struct, frozen=True, kw_only=True):
    """The state of a node; fields of the other role are empty."""

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
    member_sources: tuple[str, ...] = ()  # addresses that members came from, which flood protection must not shut out
    refused: dict[str, dict[str, int]] = {}  # by the part that counts
    members: tuple[SeenHandover, ...] = ()
    exporters: tuple[SeenHandover, ...] = ()


def encode_handover(handover: NodeHandover) -> bytes:
    """Return the record as msgpack."""
    return msgspec.msgpack.encode(handover)


def decode_handover(data: bytes) -> NodeHandover:
    """Decode a record. RunError: it cannot be read."""
    try:
        return msgspec.msgpack.decode(data, type=NodeHandover)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"The state of the running node cannot be read ({error}); restart it instead.") from None
