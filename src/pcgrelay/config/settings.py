"""The configuration as the rest of pcgrelay sees it: frozen, typed, and valid as a whole once it exists."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from msgspec import Struct

from pcgrelay.config.values import Address, Network
from pcgrelay.cutover.windows import Calendar
from pcgrelay.model import (
    Marking,
    NodeId,
    Precedence,
    Priority,
    Role,
    ServiceName,
    Suite,
    Transport,
    organisation_matches,
)

EVERY = "*"  # the subject of a drill that is of each that there is
SOCKET_MODE = 0o600  # of unix sockets, unless the file says otherwise
GATEWAY = "gateway"  # the outlet that each import has


class NodeSettings(Struct, frozen=True, kw_only=True):
    """[node]: the node's identity and resources."""

    id: NodeId
    role: Role
    workers: int  # data-plane threads, at least one
    lanes: int  # lanes that this node requests for each link, at least one
    memory_bytes: int  # budget of the data plane
    admin: Path  # unix socket
    admin_group: int | None = None  # the group that may read there, besides the node's own user
    state: Path | None = None  # folder of what outlasts a process
    inventory: Path | None = None  # file of the services that must move; commands read it, not the node
    udp_lanes: bool = False  # whether datagrams go over UDP to neighbours that do so too
    workers_by_machine: bool = False  # the number of processors, because the file gives none
    lanes_by_machine: bool = False  # as many as workers, because the file gives none


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """[identity]: files of the certificate, absolute or relative to the working folder, ready to be opened."""

    certificate: Path
    key: Path
    trust: Path
    crl: Path | None


class Paper(Struct, frozen=True, kw_only=True):
    """Who answers for a rule, why it is there, by which change, and until when."""

    owner: str = ""  # an address; a person's, so never logged
    reason: str = ""
    change: str = ""
    until: date | None = None  # its last day, in UTC; none: without end

    @property
    def end(self) -> datetime | None:
        """The first moment at which the rule allows nothing any more."""
        if self.until is None:
            return None
        return datetime.combine(self.until, time.min, UTC) + timedelta(days=1)


class RealmTerms(Struct, frozen=True, kw_only=True):
    """What the realm's bundle says, which narrows what a node's own file allows. None: it says nothing of it."""

    members: tuple[str, ...] | None = None  # patterns of organisations
    relays: tuple[str, ...] | None = None  # those whose nodes may be relays
    clearances: tuple[tuple[str, Marking], ...] | None = None  # who is not named is cleared for the lowest

    def has(self, organisation: str) -> bool:
        """Return whether an organisation is a member of the realm."""
        return _matches_any(self.members, organisation)

    def may_relay(self, organisation: str) -> bool:
        """Return whether the nodes of an organisation may be relays of the realm."""
        return self.has(organisation) and _matches_any(self.relays, organisation)


def _matches_any(patterns: tuple[str, ...] | None, organisation: str) -> bool:
    return patterns is None or any(organisation_matches(pattern, organisation) for pattern in patterns)


class PolicySettings(Struct, frozen=True, kw_only=True):
    """[policy]: requirements on neighbours, and limits on what they may cost before they are authenticated."""

    post_quantum_required: bool
    suites: tuple[Suite, ...]  # in order of preference, without duplicates, not empty
    members: tuple[str, ...]
    handshake_deadline_ms: int
    half_open_total: int
    half_open_per_source: int
    rekey_bytes: int  # soft limits of a key
    rekey_frames: int
    rekey_s: int
    renewal_interval_s: int
    renewal_age_s: int  # hard limit: a link or session not renewed for this long ends
    path_wait_ms: int
    half_closed_s: int = 3_600  # a half-closed stream without traffic for this long ends
    organisation_streams: int = 0  # of one organisation, of all exports together; 0: no limit
    organisation_new_per_second: int = 0  # the same of new ones
    probe_interval_ms: int = 500  # of lanes; one that is silent for four intervals is dead
    relays: tuple[str, ...] | None = None  # organisations whose nodes may be relays; None: every member
    paper: Paper | None = None  # of members and relays
    # What organisations are cleared for, by name; None: nobody is judged by it
    clearances: tuple[tuple[str, Marking], ...] | None = None
    # Pairs of bearers, each sorted, between which a relay forwards; None: the file does not say
    transit: tuple[tuple[str, str], ...] | None = None
    realm: RealmTerms = RealmTerms()  # of the bundle in force; never in a file

    def admits(self, organisation: str) -> bool:
        """Return whether nodes of that organisation may link to this one."""
        return _matches_any(self.members, organisation) and self.realm.has(organisation)

    def may_relay(self, organisation: str) -> bool:
        """Return whether a neighbour of that organisation may be a relay, which speaks for the nodes behind it."""
        return _matches_any(self.relays, organisation) and self.realm.may_relay(organisation)


class BearerSettings(Struct, frozen=True, kw_only=True):
    """[[bearer]]: what is known of a network."""

    name: str
    marking: Marking = Marking.OFFICIAL  # the highest that may go over it
    supported_until: date | None = None  # its last day; none: no end is known


class ListenSettings(Struct, frozen=True, kw_only=True):
    """[[listen]]: where links from neighbours arrive."""

    address: Address
    bearer: str
    precedence: Precedence = Precedence.DEFAULT  # of the links that arrive here
    weight: int = 100
    udp_port: int = 0  # of UDP lanes, at the first worker; 0: as that of `address`
    paper: Paper | None = None

    @property
    def first_udp_port(self) -> int:
        """The port of UDP at the first worker; each further worker has the next."""
        return self.udp_port or self.address.port


class LinkSettings(Struct, frozen=True, kw_only=True):
    """[[link]]: a link that this node opens."""

    peer: NodeId
    address: Address
    bearer: str
    precedence: Precedence = Precedence.DEFAULT
    weight: int = 100
    sources: tuple[str, ...] = ()  # numeric addresses to connect from; none: the system's choice
    paper: Paper | None = None

    discover: str = ""  # the name by which discovery found the relay; empty: the file names it

    @property
    def title(self) -> str:
        """Which entry of the file it is, for people."""
        return f"{self.peer} at {self.address}"

    def dials_as(self, other: LinkSettings) -> bool:
        """Return whether a link that was dialled for the other settings can be kept for these."""
        mine = (self.peer, self.address, self.bearer, self.sources)
        return mine == (other.peer, other.address, other.bearer, other.sources)


class DiscoverSettings(Struct, frozen=True, kw_only=True):
    """[[link]] with discover: links to some of the relays that a name of DNS leads to."""

    discover: str  # the name with the SRV records (RFC 2782), without the last dot
    links: int = 2  # to so many relays
    peers: tuple[NodeId, ...] = ()  # these alone; none: each relay that [policy] relays admits
    bearer: str
    precedence: Precedence = Precedence.DEFAULT
    weight: int = 100
    sources: tuple[str, ...] = ()
    paper: Paper | None = None

    @property
    def title(self) -> str:
        """Which entry of the file it is, for people."""
        return f"found by {self.discover}"

    def link_to(self, peer: NodeId, address: Address) -> LinkSettings:
        """Return the settings of a link to a relay that was found."""
        return LinkSettings(
            peer=peer,
            address=address,
            bearer=self.bearer,
            precedence=self.precedence,
            weight=self.weight,
            sources=self.sources,
            paper=self.paper,
            discover=self.discover,
        )

    def admits(self, peer: NodeId, policy: PolicySettings) -> bool:
        """Return whether a relay that was found may be linked. DNS proves nothing: the file says whose relays may."""
        if not policy.may_relay(peer.organisation):
            return False
        return peer in self.peers if self.peers else policy.relays is not None


class Limits(Struct, frozen=True, kw_only=True):
    """Limits of one service's streams; 0: none, or those of `services.datagrams` for datagrams."""

    streams: int = 0  # open at once; 0: a quarter of the available descriptors
    per_organisation: int = 0  # of these; of exports alone
    per_source: int = 0  # of these; of imports of datagrams alone
    new_per_second: int = 0  # of an export those of one organisation, of an import all
    idle_s: int = 0  # without a byte either way
    duration_s: int = 0
    rate_bytes: int = 0  # of datagrams in a second, in each direction


class AllowTerms(Struct, frozen=True, kw_only=True):
    """What an entry of `allow` says beside the organisation."""

    organisation: str
    until: datetime | None = None  # in UTC; none: without end
    reason: str = ""
    reference: str = ""

    def has_ended(self, now: datetime) -> bool:
        """Return whether it allows nothing any more."""
        return self.until is not None and now >= self.until


class ExportSettings(Struct, frozen=True, kw_only=True):
    """[[export]]: a service of this organisation, and who may use it."""

    service: ServiceName
    target: Address
    allow: tuple[str, ...]  # organisations by their exact names; empty: nobody
    marking: Marking
    connect_timeout_ms: int
    precedence: Precedence = Precedence.DEFAULT
    weight: int = 100
    priority: Priority = Priority.NORMAL  # the highest class of its streams
    probe: bool = True  # whether the target is probed
    probe_send: bytes = b""  # what a probe sends,
    probe_expect: bytes = b""  # and what its answer must contain; empty: a connection is enough
    probe_interval_ms: int = 5_000
    terms: tuple[AllowTerms, ...] = ()  # of those in `allow` of which the file says more than the name
    limits: Limits = Limits()
    sources: tuple[str, ...] = ()  # numeric addresses to connect from; none: the system's choice
    proxy: bool = False  # whether the target is told who calls, by the PROXY protocol
    also: tuple[Address, ...] = ()  # listeners for callers who still come the old way
    wait_ms: int = 0  # what a datagram may wait for room
    paper: Paper | None = None

    @property
    def transport(self) -> Transport:
        """What it carries."""
        return self.target.transport


class CallerSettings(Struct, frozen=True, kw_only=True):
    """[[caller]]: an organisation whose callers may still come the old way, and where they come from."""

    organisation: str
    networks: tuple[Network, ...]


class ImportSettings(Struct, frozen=True, kw_only=True):
    """[[import]]: a service of another edge, and where applications here connect to it."""

    service: ServiceName
    listen: Address
    priority: Priority | None = None  # the highest class; None: as the exporter sets it
    limits: Limits = Limits()
    mode: int = SOCKET_MODE  # of its unix sockets,
    group: int | None = None  # and who else may use them
    outlet: str = GATEWAY  # where new streams go as long as nobody has set shares
    also: tuple[Address, ...] = ()  # further listeners
    careful: bool = True  # with several outlets, nothing is sent before the far side has answered
    exercise: float = 0.0  # percent of new streams that take the first back-up, so that it is known to work
    srv: str = ""  # the code that a network has for it
    prefixes: tuple[Network, ...] = ()  # of datagrams: whose are taken; none: everybody's
    wait_ms: int = 0  # what a datagram may wait for room
    paper: Paper | None = None

    @property
    def transport(self) -> Transport:
        """What it carries."""
        return self.listen.transport

    @property
    def listeners(self) -> tuple[Address, ...]:
        """All addresses at which applications connect."""
        return (self.listen, *self.also)

    @property
    def doors(self) -> tuple[object, ...]:
        """What its listeners are made from: if that is the same, they can be kept."""
        return self.listeners, self.mode, self.group


class DirectSettings(Struct, frozen=True, kw_only=True):
    """[[direct]]: another outlet of an import: plain TCP or UDP, as the import, to an address of another network."""

    service: ServiceName
    name: str
    target: Address
    bearer: str
    connect_timeout_ms: int = 3_000
    sources: tuple[str, ...] = ()  # as for an export
    probe: bool = True  # these four too
    probe_send: bytes = b""
    probe_expect: bytes = b""
    probe_interval_ms: int = 5_000
    paper: Paper | None = None

    @property
    def proxy(self) -> bool:
        """Whether the target is told who calls: what is here knows no caller but its own."""
        return False


class DrillSettings(Struct, frozen=True, kw_only=True):
    """[[drill]]: a drill that is due again and again."""

    kind: str  # backup, relay-loss, bearer-loss, restore
    subject: str  # a service, relay or bearer; EVERY: each that there is; nothing for restore
    every_s: int
    calendar: Calendar  # when it may begin
    auto: bool  # the node begins it by itself
    lasts_s: int
    share: float  # backup: percent of new streams that take the back-up


class LogSettings(Struct, frozen=True, kw_only=True):
    """[log]: what is written to standard error."""

    level: str  # debug, info, warning or error
    access: bool  # a line for each ended stream
    format: str = "json"  # or text


class AuditSettings(Struct, frozen=True, kw_only=True):
    """[audit]: what is kept of the audit log."""

    keep_days: int  # whole segments that are older are removed
    kept_streams: str  # all, refused or totals


class AssureSettings(Struct, frozen=True, kw_only=True):
    """[assure]: what tests of `pcgrelay assure run` may use."""

    probe: Path | None = None  # configuration of an edge of a throw-away organisation on this machine
    revoked: Path | None = (
        None  # a certificate that the realm has revoked; its key lies beside it, with the ending .key
    )


class RealmSettings(Struct, frozen=True, kw_only=True):
    """[realm]: what the realm has signed."""

    bundle: Path | None = None  # file; None: what neighbours bring counts alone


class ReaderSettings(Struct, frozen=True, kw_only=True):
    """[metrics] or [page]: a listener for somebody who reads, and who may."""

    listen: Address | None = None  # none: there is none
    allow: tuple[str, ...] = ()  # organisations by their exact names, and SPIFFE names; loopback asks for neither

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine may read, without TLS: it listens on loopback alone."""
        return self.listen is not None and self.listen.is_loopback

    def admits(self, node: NodeId) -> bool:
        """Return whether the holder of that name may read."""
        return node.organisation in self.allow or node.uri in self.allow


class ApprovalsSettings(Struct, frozen=True, kw_only=True):
    """[approvals]: who signs changes of the configuration, and how many of them a change needs."""

    signers: Path  # in OpenSSH's format of allowed signers
    needs: int = 2  # signatures of others for what widens
    roles: tuple[tuple[str, tuple[str, ...]], ...] = ()  # who has which, both in the order of the alphabet
    revoked: Path | None = None  # keys that count no more, in OpenSSH's format (KRL)
    holds: bool = False  # whether a signer may hold a change
    most_days: int = 400  # how far ahead a rule may end


class FleetSettings(Struct, frozen=True, kw_only=True):
    """[fleet]: the store that nodes of a realm share."""

    store: str  # etcd
    endpoints: tuple[str, ...]  # https://HOST:PORT, of each member
    certificate: Path | None = None  # with its key; none: those of [identity]
    key: Path | None = None
    trust: Path | None = None  # CAs of the members; none: those of [identity]
    user: str = ""  # none: the certificate alone
    password: Path | None = None  # a file with the password of that user


class Config(Struct, frozen=True, kw_only=True):
    """One node's whole configuration."""

    path: Path
    node: NodeSettings
    identity: IdentitySettings
    policy: PolicySettings
    listens: tuple[ListenSettings, ...]
    links: tuple[LinkSettings | DiscoverSettings, ...]  # in the order of the file
    exports: tuple[ExportSettings, ...]
    imports: tuple[ImportSettings, ...]
    log: LogSettings
    bearers: tuple[BearerSettings, ...] = ()
    directs: tuple[DirectSettings, ...] = ()
    drills: tuple[DrillSettings, ...] = ()
    callers: tuple[CallerSettings, ...] = ()
    audit: AuditSettings | None = None  # none: there is no audit log
    assure: AssureSettings = AssureSettings()
    realm: RealmSettings = RealmSettings()
    metrics: ReaderSettings = ReaderSettings()
    page: ReaderSettings = ReaderSettings()
    approvals: ApprovalsSettings | None = None
    fleet: FleetSettings | None = None  # none: nothing is shared

    @property
    def named_links(self) -> tuple[LinkSettings, ...]:
        """The links of which the file names the neighbour."""
        return tuple(link for link in self.links if isinstance(link, LinkSettings))

    @property
    def discoveries(self) -> tuple[DiscoverSettings, ...]:
        """The links whose neighbours DNS leads to."""
        return tuple(link for link in self.links if isinstance(link, DiscoverSettings))

    @property
    def readers(self) -> dict[str, ReaderSettings]:
        """The listeners for readers that there are, by table."""
        return {name: each for name, each in (("metrics", self.metrics), ("page", self.page)) if each.listen}

    def bearer(self, name: str) -> BearerSettings:
        """What is known of a network; what is known of one without a table is little."""
        return next((bearer for bearer in self.bearers if bearer.name == name), BearerSettings(name=name))

    def directs_of(self, service: ServiceName) -> tuple[DirectSettings, ...]:
        """The direct outlets of an import, in the order of the file."""
        return tuple(direct for direct in self.directs if direct.service == service)
