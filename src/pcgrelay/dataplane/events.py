"""Events of the core, one type for each kind. When each is sent stands in the core's stub (`core.pyi`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct


class LaneUp(Struct, frozen=True):
    link: int
    index: int
    number: int


class LaneDown(Struct, frozen=True):
    link: int
    index: int
    number: int
    code: int
    reason: str


class SessionUp(Struct, frozen=True):
    session: int


class SessionDown(Struct, frozen=True):
    session: int
    code: int
    reason: str
    remote: bool


class SessionStalled(Struct, frozen=True):
    session: int
    flow: int
    code: int
    in_label: int  # of the path that was lost


class SessionResumed(Struct, frozen=True):
    session: int
    flow: int


class SessionMoved(Struct, frozen=True):
    session: int
    in_label: int  # of the candidate that has become the path


class PeerDrains(Struct, frozen=True):
    link: int
    milliseconds: int


class ImportWanted(Struct, frozen=True):
    number: int


class StreamEnd(Struct, frozen=True):
    opener: bool
    number: int  # of the import or export; -1: unknown service
    session: int
    service: bytes
    bytes_sent: int
    bytes_received: int
    duration_us: int
    code: int
    cause: str
    rule: int
    remote: bool


class LinkRenewed(Struct, frozen=True):
    link: int
    mix: int


class SessionRenewed(Struct, frozen=True):
    session: int
    mix: int


class EventsLost(Struct, frozen=True):
    count: int
    kept: int  # of these, events of links, lanes and sessions (not of single streams)


# Handlers by type of event. A type without a handler does not occur in, or does not matter to, this role.
Handlers = Mapping[type[Struct], Callable[[Any], None]]
