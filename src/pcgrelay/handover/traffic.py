"""What the services of an edge carried, in the hand-over record."""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.figures import Durations


class TrafficRowHandover(Struct, frozen=True, kw_only=True):
    """The streams of one service with one organisation."""

    direction: str
    service: str
    organisation: str
    streams: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    refused: dict[str, int] = {}
    sent_datagrams: int = 0
    received_datagrams: int = 0
    dropped: dict[str, int] = {}


class TrafficHandover(Struct, frozen=True, kw_only=True):
    """All of it."""

    rows: tuple[TrafficRowHandover, ...] = ()
    # direction, service, life, time to the first byte
    times: tuple[tuple[str, str, Durations, Durations], ...] = ()
