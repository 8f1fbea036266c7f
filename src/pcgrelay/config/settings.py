"""The configuration as the rest of pcgrelay sees it: frozen, typed, and wholly valid once it exists."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pcgrelay.config.values import Address
from pcgrelay.model import Marking, NodeId, Precedence, Priority, Role, ServiceName, Suite, organisation_matches


class NodeSettings(Struct, frozen=True, kw_only=True):
    """[node]: who this is and what it may use."""

    id: NodeId
    role: Role
    workers: int  # data-plane threads, at least one
    lanes: int  # lanes that this node wants for each link, at least one
    memory_bytes: int  # budget of the data plane
    admin: Path  # unix socket
    admin_group: int | None = None  # number of the group that may read there, beside the node's own user
    workers_by_machine: bool = False  # not as the file says, but as many as there were processors
    lanes_by_machine: bool = False  # nor these: as many as workers


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """[identity]: files of the certificate, absolute or relative to the working folder, as they can be opened."""

    certificate: Path
    key: Path
    trust: Path
    crl: Path | None


class PolicySettings(Struct, frozen=True, kw_only=True):
    """[policy]: what a neighbour must satisfy, and how much one may cost before it has."""

    post_quantum_required: bool
    suites: tuple[Suite, ...]  # in order of preference, none twice, never empty
    members: tuple[str, ...]
    handshake_deadline_ms: int
    half_open_total: int
    half_open_per_source: int
    rekey_bytes: int  # soft limits of a key
    rekey_frames: int
    rekey_s: int
    renewal_interval_s: int
    renewal_age_s: int  # hard: what was not renewed for so long ends
    path_wait_ms: int
    half_closed_s: int = 3_600  # what is half-closed ends if nothing moves for so long
    probe_interval_ms: int = 500  # of lanes; one that is silent for four of them is dead
    relays: tuple[str, ...] | None = None  # organisations whose nodes may be relays; any that may link, if not named

    def admits(self, organisation: str) -> bool:
        """Whether a node of that organisation may link to this one."""
        return any(organisation_matches(pattern, organisation) for pattern in self.members)

    def may_relay(self, organisation: str) -> bool:
        """Whether a neighbour of that organisation may be a relay, which speaks for nodes behind it."""
        return self.relays is None or any(organisation_matches(pattern, organisation) for pattern in self.relays)


class ListenSettings(Struct, frozen=True, kw_only=True):
    """[[listen]]: where neighbours' links come in."""

    address: Address
    bearer: str
    precedence: Precedence = Precedence.DEFAULT  # of the links that come in here
    weight: int = 100


class LinkSettings(Struct, frozen=True, kw_only=True):
    """[[link]]: a link that this node opens."""

    peer: NodeId
    address: Address
    bearer: str
    precedence: Precedence = Precedence.DEFAULT
    weight: int = 100

    def dials_as(self, other: LinkSettings) -> bool:
        """Whether a link that was dialled for the other can go on for this one."""
        return (self.peer, self.address, self.bearer) == (other.peer, other.address, other.bearer)


class ExportSettings(Struct, frozen=True, kw_only=True):
    """[[export]]: a service of this organisation, and who may call it."""

    service: ServiceName
    target: Address
    allow: tuple[str, ...]  # organisations by their exact name; none: nobody
    marking: Marking
    connect_timeout_ms: int
    precedence: Precedence = Precedence.DEFAULT
    weight: int = 100
    priority: Priority = Priority.NORMAL  # the highest class that a stream of it may have
    probe: bool = True  # whether the target is tried now and then
    probe_send: bytes = b""  # what it is sent then,
    probe_expect: bytes = b""  # and what must stand in its answer; nothing: a connection is enough
    probe_interval_ms: int = 5_000
    max_streams: int = 0  # open at once; 0: a quarter of what the descriptors bear


class ImportSettings(Struct, frozen=True, kw_only=True):
    """[[import]]: a service of another edge, and where applications here reach it."""

    service: ServiceName
    listen: Address
    priority: Priority | None = None  # at most this; none: as its owner says
    max_streams: int = 0  # as of an export


class LogSettings(Struct, frozen=True, kw_only=True):
    """[log]: what is written to standard error."""

    level: str  # debug, info, warning or error
    access: bool  # a line for each stream that ended


class Config(Struct, frozen=True, kw_only=True):
    """One node's whole configuration."""

    path: Path
    node: NodeSettings
    identity: IdentitySettings
    policy: PolicySettings
    listens: tuple[ListenSettings, ...]
    links: tuple[LinkSettings, ...]
    exports: tuple[ExportSettings, ...]
    imports: tuple[ImportSettings, ...]
    log: LogSettings
