"""The configuration as the rest of pcgrelay sees it: frozen, typed, and valid as a whole once it exists."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from pcgrelay.config.values import Address
from pcgrelay.model import Marking, NodeId, Precedence, Priority, Role, ServiceName, Suite, organisation_matches


class NodeSettings(Struct, frozen=True, kw_only=True):
    """[node]: the node's identity and resources."""

    id: NodeId
    role: Role
    workers: int  # data-plane threads, at least one
    lanes: int  # lanes that this node requests for each link, at least one
    memory_bytes: int  # budget of the data plane
    admin: Path  # unix socket
    admin_group: int | None = None  # the group that may read there, besides the node's own user
    workers_by_machine: bool = False  # the number of processors, because the file gives none
    lanes_by_machine: bool = False  # as many as workers, because the file gives none


class IdentitySettings(Struct, frozen=True, kw_only=True):
    """[identity]: files of the certificate, absolute or relative to the working folder, ready to be opened."""

    certificate: Path
    key: Path
    trust: Path
    crl: Path | None


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
    probe_interval_ms: int = 500  # of lanes; one that is silent for four intervals is dead
    relays: tuple[str, ...] | None = None  # organisations whose nodes may be relays; None: every member

    def admits(self, organisation: str) -> bool:
        """Return whether nodes of that organisation may link to this one."""
        return any(organisation_matches(pattern, organisation) for pattern in self.members)

    def may_relay(self, organisation: str) -> bool:
        """Return whether a neighbour of that organisation may be a relay, which speaks for the nodes behind it."""
        return self.relays is None or any(organisation_matches(pattern, organisation) for pattern in self.relays)


class ListenSettings(Struct, frozen=True, kw_only=True):
    """[[listen]]: where links from neighbours arrive."""

    address: Address
    bearer: str
    precedence: Precedence = Precedence.DEFAULT  # of the links that arrive here
    weight: int = 100


class LinkSettings(Struct, frozen=True, kw_only=True):
    """[[link]]: a link that this node opens."""

    peer: NodeId
    address: Address
    bearer: str
    precedence: Precedence = Precedence.DEFAULT
    weight: int = 100

    def dials_as(self, other: LinkSettings) -> bool:
        """Return whether a link that was dialled for the other settings can be kept for these."""
        return (self.peer, self.address, self.bearer) == (other.peer, other.address, other.bearer)


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
    max_streams: int = 0  # open at once; 0: a quarter of the available descriptors


class ImportSettings(Struct, frozen=True, kw_only=True):
    """[[import]]: a service of another edge, and where applications here connect to it."""

    service: ServiceName
    listen: Address
    priority: Priority | None = None  # the highest class; None: as the exporter sets it
    max_streams: int = 0  # as for an export


class LogSettings(Struct, frozen=True, kw_only=True):
    """[log]: what is written to standard error."""

    level: str  # debug, info, warning or error
    access: bool  # a line for each ended stream


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
