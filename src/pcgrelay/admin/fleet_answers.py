"""The answer about a fleet: the nodes of the realm, as they report themselves in the store."""

from __future__ import annotations

from msgspec import Struct

FLEET_PATH = "/v1/fleet"


class FleetStatus(Struct, frozen=True, kw_only=True):
    """The store, as one node hears of it."""

    store: str = ""  # etcd
    live: bool = False
    since: str = ""  # since when it is live, or silent
    reason: str = ""  # why it is silent, in one word, as in operations.md
    refused: str = ""  # why what is written is not taken
    sentence: str = ""  # for people; empty if nothing is wrong


class FleetNode(Struct, frozen=True, kw_only=True):
    """One node that has a lease. Times are Unix times in seconds."""

    node: str  # NAME.ORGANISATION
    role: str
    version: str
    condition: str
    ready: bool
    draining: bool
    streams: int  # of a relay: paths
    load_percent: int  # of one core
    certificate_end_s: int
    reported_s: float
    process: str


class FleetAnswer(Struct, frozen=True, kw_only=True):
    """All nodes that the store has. What a silent store had last is there still, and says so."""

    status: FleetStatus = FleetStatus()
    complete: bool = False  # everything was loaded once
    nodes: tuple[FleetNode, ...] = ()
    lock: str = ""  # who changes nodes of this organisation, and what for
    reason: str = ""  # why there is nothing to show
    exit_code: int = 0
