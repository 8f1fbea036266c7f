"""All that a node's control plane leaves to the process that takes its place, in one record (docs/decisions/0009)."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from pcgrelay.errors import RunError
from pcgrelay.handover.records import EntryEstate, ForwardEstate, LabelsEstate, LinkEstate, SessionEstate

VERSION = 2  # 2: renewals, and where links were dialled or came in
LEAST = 1  # the oldest that is read


class ServiceEstate(Struct, frozen=True, kw_only=True):
    """An import or export, under the number that the core knows it by."""

    number: int
    service: str
    listen: str = ""  # of an import
    is_open: bool = False
    target: str = ""  # of an export,
    addresses: tuple[tuple[str, int], ...] = ()  # and where that led
    opened_total: int = 0
    refused_total: int = 0


class TallyEstate(Struct, frozen=True, kw_only=True):
    """Counts of streams."""

    opened_total: int = 0
    closed_total: dict[str, int] = {}
    refused_total: dict[str, int] = {}


class SeenEstate(Struct, frozen=True, kw_only=True):
    """Somebody who is known: a neighbour by identity, bearer and listener, or an exporter by service and identity."""

    names: tuple[str, ...]
    away_ms: int = 0  # since when, on the monotonic clock; 0: there


class NodeEstate(Struct, frozen=True, kw_only=True):
    """A node. What only one role has is empty for the other."""

    started_ms: int
    links: tuple[LinkEstate, ...] = ()
    entries: tuple[EntryEstate, ...] = ()
    labels: LabelsEstate = LabelsEstate()
    sessions: tuple[SessionEstate, ...] = ()
    last_session: int = 0
    forwards: tuple[ForwardEstate, ...] = ()
    last_forward: int = 0
    imports: tuple[ServiceEstate, ...] = ()
    exports: tuple[ServiceEstate, ...] = ()
    tally: TallyEstate = TallyEstate()
    member_sources: tuple[str, ...] = ()  # from where members came, which no flood is to keep out
    refused: dict[str, dict[str, int]] = {}  # by the part that counts
    members: tuple[SeenEstate, ...] = ()
    exporters: tuple[SeenEstate, ...] = ()


def estate_written(estate: NodeEstate) -> bytes:
    """The record as it is handed over."""
    return msgspec.msgpack.encode(estate)


def estate_read(data: bytes) -> NodeEstate:
    """A record that was handed over; RunError if it is none."""
    try:
        return msgspec.msgpack.decode(data, type=NodeEstate)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"The state of the running node cannot be read ({error}); restart it instead.") from None
