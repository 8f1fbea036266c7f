"""Answers of a node to requests. Other tools read this JSON: fields are only added."""

from __future__ import annotations

from msgspec import Struct

from pcgrelay.admin.status import ListenerStatus, OutletStatus

RELOAD_PATH = "/v1/reload"
DRAIN_PATH = "/v1/drain"
EXPLAIN_PATH = "/v1/explain"
OUTLET_PATH = "/v1/outlet"
BODY_LIMIT_BYTES = 65_536  # of a request


class ReloadEffect(Struct, frozen=True, kw_only=True):
    """One change of a reload, and what it would end."""

    change: str
    streams: int = 0
    sessions: int = 0


class ApprovalTaken(Struct, frozen=True, kw_only=True):
    """What a reload takes, where changes have to be approved."""

    policy: str  # its digest
    widens: int = 0
    narrows: int = 0
    neutral: int = 0
    lines: tuple[str, ...] = ()
    approved: tuple[str, ...] = ()  # who approved what widens


class ReloadAnswer(Struct, frozen=True, kw_only=True):
    """The answer to POST /v1/reload; with dry_run=1 nothing is applied."""

    ok: bool
    changes: tuple[str, ...] = ()
    effects: tuple[ReloadEffect, ...] = ()  # of a dry run: for each change
    policy: tuple[str, ...] = ()  # what of it widens what is allowed, narrows it, or does neither
    approval: ApprovalTaken | None = None  # none: nobody has to approve changes
    reason: str = ""  # why it was refused; the old configuration stays in force
    exit_code: int = 0


class DrainAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET and POST /v1/drain."""

    draining: bool
    empty: bool  # no stream or path is left on this node
    streams: int = 0  # open at an edge
    paths: int = 0  # through a relay
    reason: str = ""  # why the request was refused
    exit_code: int = 0


class OutletAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET and POST /v1/outlet?service=..."""

    service: str
    protocol: str = "tcp"  # or udp
    serving: bool = False  # an application gets through over some outlet
    outlets: tuple[OutletStatus, ...] = ()
    configured: str = ""  # the outlet that [[import]] names
    decided_by: str = ""  # who decides the shares: configuration, hand, cut-over, drill
    why_not_by_hand: str = ""  # why nobody may set them now
    exercise: float = (
        0.0  # what [[import]] exercise gives the first back-up, in percent, where the configuration decides
    )
    set: bool = False  # shares were set by hand; they hold if nothing else decides
    set_at: str = ""
    set_by: str = ""  # the user, as the kernel named it, and how they named themselves
    set_reason: str = ""
    changed: bool = False  # by this request
    before: dict[str, float] = {}  # shares before it, in percent
    warnings: tuple[str, ...] = ()
    reason: str = ""  # why it was refused
    exit_code: int = 0


class OutletList(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/outlet: all imports with outlets beside the gateway."""

    services: tuple[OutletAnswer, ...] = ()


class OutletExplained(Struct, frozen=True, kw_only=True):
    """One outlet of an import that has several."""

    name: str
    share: float  # of new streams, 0 to 1
    next: int  # its place among those that a failed set-up is led on to; 0: none
    taken: bool  # the next stream may take it
    why_not: str = ""
    exercised: bool = False  # its share is that of [[import]] exercise


class EdgeExplained(Struct, frozen=True, kw_only=True):
    """One edge that exports an imported service."""

    edge: str
    precedence: str  # preferred, default, back-up
    weight: int
    priority: str  # normal, interactive, critical
    share: float  # of new streams, at present
    why_not: str = ""  # why it gets no new streams


class WayExplained(Struct, frozen=True, kw_only=True):
    """One route that a new stream or path could take."""

    exporter: str  # the edge at its end
    hops: tuple[str, ...]  # from the first neighbour to that edge, according to the catalogue
    chosen: bool
    why_not: str = ""  # why another route is chosen
    link: str  # of the first hop: up, draining, connecting, down
    health: str = ""  # of the first hop, by its probes: ok, failing, unknown
    bearer: str = ""
    precedence: str = ""
    weight: int = 0
    paths: int = 0  # number of this node's paths over the first hop
    lanes_up: int = 0
    lanes: int = 0
    rtt_ms: float | None = None
    loss: float = 0.0  # of probes, 0 to 1
    suite: str = ""
    group: str = ""
    datagrams: str = ""  # of a service of UDP: which way they take over the first hop, and why


class SessionExplained(Struct, frozen=True, kw_only=True):
    """A session between two edges, which carries streams end to end."""

    peer: str
    state: str  # asking, handshake, starting, up, stalled
    via: str
    hops: tuple[str, ...] = ()  # from the first neighbour to the peer, as far as this edge knows
    suite: str = ""
    group: str = ""
    marking: int = 0
    priority: str = ""
    flows: int = 0
    streams: int = 0
    may_open: bool | None = None  # of an export: whether the rule allows this peer
    datagrams: str = ""  # of a service of UDP: which way they take over the first hop, and why


class CallerCheck(Struct, frozen=True, kw_only=True):
    """One thing that decides whether an export lets an organisation in."""

    name: str  # allow, service, or a limit as its key is written
    state: str
    passed: bool
    cause: str = ""  # with which a stream would be refused
    detail: str = ""  # of the allow entry: reason and reference


class ExplainAnswer(Struct, frozen=True, kw_only=True):
    """The answer to GET /v1/explain?subject=...&from=..."""

    subject: str
    kind: str = ""  # import, export; at a relay: edge, service
    protocol: str = "tcp"  # or udp, whose streams are associations,
    datagrams: str = ""  # and how long these last and how many there may be
    open: bool = False  # whether a new stream would be accepted, as far as this node knows
    verdict: str = ""
    marking: str = ""  # of the service, or the highest that the edge offers; empty: nobody has configured any
    rule: str = ""
    health: str = ""
    offer: str = ""  # of an export: what is announced of it
    paths: int = 0  # at a relay: number of its paths to that edge or service
    outlets: tuple[OutletExplained, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()  # of an import that has further ones (`also`)
    edges: tuple[EdgeExplained, ...] = ()
    ways: tuple[WayExplained, ...] = ()
    sessions: tuple[SessionExplained, ...] = ()
    caller: str = ""  # the organisation that was asked for; then `open` and `verdict` are of it,
    checks: tuple[
        CallerCheck, ...
    ] = ()  # by these, in their order; what follows a refusal of the rule is not looked at
    reason: str = ""  # why there is no explanation
