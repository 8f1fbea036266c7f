"""What a node answers when it is asked to do something. Other tools read this JSON: names are only added."""

from __future__ import annotations

from msgspec import Struct

RELOAD_PATH = "/v1/reload"
DRAIN_PATH = "/v1/drain"
EXPLAIN_PATH = "/v1/explain"


class ReloadAnswer(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/reload."""

    ok: bool
    changes: tuple[str, ...] = ()
    reason: str = ""  # why it was refused; the old configuration holds
    exit_code: int = 0


class DrainAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET and POST /v1/drain."""

    draining: bool
    empty: bool  # nothing runs over this node any more
    streams: int = 0  # of an edge
    paths: int = 0  # through a relay
    reason: str = ""  # why it was refused


class EdgeExplained(Struct, frozen=True, kw_only=True):
    """One edge that exports an imported service."""

    edge: str
    precedence: str  # preferred, default, back-up
    weight: int
    priority: str  # normal, interactive, critical
    share: float  # of new streams, now
    why_not: str = ""  # why it gets none


class WayExplained(Struct, frozen=True, kw_only=True):
    """One way that a new stream or path could take."""

    exporter: str  # the edge at its end
    hops: tuple[str, ...]  # from the first neighbour to that edge, as its entry came
    chosen: bool
    why_not: str = ""  # why another way is taken
    link: str  # of the first hop: up, draining, connecting, down
    health: str = ""  # of the first hop, by its probes: ok, failing, unknown
    bearer: str = ""
    precedence: str = ""
    weight: int = 0
    paths: int = 0  # that this node leads over the first hop
    lanes_up: int = 0
    lanes: int = 0
    rtt_ms: float | None = None
    loss: float = 0.0  # of probes, 0 to 1
    suite: str = ""
    group: str = ""


class SessionExplained(Struct, frozen=True, kw_only=True):
    """A session between edges, which a stream runs in end to end."""

    peer: str
    state: str  # asking, handshake, starting, up, stalled
    via: str
    hops: tuple[str, ...] = ()  # from the first neighbour to that peer, as far as this edge knows
    suite: str = ""
    group: str = ""
    marking: int = 0
    priority: str = ""
    flows: int = 0
    streams: int = 0
    may_open: bool | None = None  # of an export: whether the rule lets this peer


class ExplainAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/explain?subject=..."""

    subject: str
    kind: str = ""  # import, export; at a relay: edge, service
    open: bool = False  # whether a new stream would go through, as far as this node knows
    verdict: str = ""
    rule: str = ""
    health: str = ""
    offer: str = ""  # of an export: what others are told of it
    paths: int = 0  # of a relay: those that it leads there
    edges: tuple[EdgeExplained, ...] = ()
    ways: tuple[WayExplained, ...] = ()
    sessions: tuple[SessionExplained, ...] = ()
    reason: str = ""  # why nothing can be said
