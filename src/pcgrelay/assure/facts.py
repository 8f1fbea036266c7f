"""What readers have found, and judges judge: pure data, one Struct for each test.

Nothing here has an address of an application, a key, or payload. Names are those of the configuration and the protocol.
"""

from __future__ import annotations

from datetime import date, datetime

from msgspec import Struct


class Facts(Struct, frozen=True, kw_only=True):
    """The common part: what is kept below controls/ID of a pack is this Struct as JSON."""


# -- handshakes (K1, K2, K3, K5, N2) ----------------------------------------------------------------------------

TAKEN, REFUSED, UNREACHABLE = "taken", "refused", "unreachable"


class Attempt(Facts, frozen=True, kw_only=True):
    """One handshake that was offered to a listener of this node, from this machine."""

    listener: str  # listen[1]
    offered: str  # what was special about it: TLS 1.2, group X25519
    wanted: bool  # whether the profile allows what was offered
    answer: str  # taken (the server went on), refused, unreachable
    detail: str = ""  # the alert, or the error
    told_bytes: int = 0  # of application data that the server sent to this unauthenticated peer


class Attempts(Facts, frozen=True, kw_only=True):
    """Handshakes with the listeners of this node."""

    attempts: tuple[Attempt, ...]


class CertificateTry(Facts, frozen=True, kw_only=True):
    """One kind of bad certificate."""

    kind: str
    due: str  # the reason that must be given, a word of identity.certificates.Refusal
    reason: str  # the reason that this version's code gives, its CA being trusted; "": it was taken
    live: str  # the answer of the listener, to which its CA is unknown; not tried: there is none


class CertificateBank(Facts, frozen=True, kw_only=True):
    """All kinds of bad certificates."""

    tries: tuple[CertificateTry, ...]


# -- links, sessions (K3, K7, K10) ------------------------------------------------------------------------------


class Channel(Facts, frozen=True, kw_only=True):
    """A link or session that is up."""

    kind: str  # link, session
    peer: str
    suite: str
    group: str
    proved_s: float | None  # since both ends last proved their identities


class Channels(Facts, frozen=True, kw_only=True):
    """All links and sessions that are up, and what a peer with a classical group alone was answered."""

    channels: tuple[Channel, ...]
    attempts: tuple[Attempt, ...] = ()


# -- certificates (K4, K6) --------------------------------------------------------------------------------------


class Certificate(Facts, frozen=True, kw_only=True):
    """One certificate of the own chain, leaf first."""

    subject: str
    key: str  # P-256, Ed25519, RSA
    key_bits: int
    signature_hash: str  # sha256; "": the algorithm has its own (Ed25519)
    names: tuple[str, ...] = ()  # URIs
    not_after: datetime
    is_public: bool = False  # its CA is one of those that browsers trust


class OwnChain(Facts, frozen=True, kw_only=True):
    """The certificate of this node and what is above it."""

    now: datetime
    certificates: tuple[Certificate, ...]
    trust: tuple[Certificate, ...]


class RevocationListFact(Facts, frozen=True, kw_only=True):
    """A revocation list in force."""

    issuer: str
    made: datetime
    next: datetime | None


class RevokedIdentity(Facts, frozen=True, kw_only=True):
    """A certificate that the realm issued and revoked: by the node's own lists, and as a listener answered it."""

    until: datetime
    reason: (
        str  # why the node's own trust and lists refuse it, a word of identity.certificates.Refusal; "": they do not
    )
    live: str  # the answer of the listener; not tried: there is none
    detail: str = ""  # the alert


class RevocationLists(Facts, frozen=True, kw_only=True):
    """All of them."""

    now: datetime
    configured: bool
    lists: tuple[RevocationListFact, ...]
    revoked: RevokedIdentity | None = None  # None: no test identity is configured


# -- cryptography (K8) ------------------------------------------------------------------------------------------


class KnownAnswer(Facts, frozen=True, kw_only=True):
    """One known-answer test."""

    where: str  # here, node
    algorithm: str
    right: bool


class SelfTests(Facts, frozen=True, kw_only=True):
    """Known-answer tests, in this process and in the running node."""

    answers: tuple[KnownAnswer, ...]


# -- the process (K9, L1, L2, N2) -------------------------------------------------------------------------------


class ProcessFacts(Facts, frozen=True, kw_only=True):
    """The node's process, from /proc and what it says of itself."""

    uid: int
    capabilities: tuple[str, ...]  # effective or permitted, in the kernel's words
    bounding: tuple[str, ...]
    no_new_privileges: bool
    seccomp: bool
    root_read_only: bool
    unit: str = ""  # the last part of its control group, if a service manager or a container runs it; "": a person does
    core_limit_bytes: int | None  # the soft limit; None: none
    dumpable: bool
    core_pipe: str  # the program that gets core dumps; "": they are files
    core_memory: bool  # whether a core dump would hold memory of the process, by its coredump_filter
    swap: tuple[str, ...]  # swap areas that are on
    locked: bool  # all of its memory is locked


class SecretSearch(Facts, frozen=True, kw_only=True):
    """A search for secrets that a data plane was given, in the memory of the process that gave them."""

    secrets: int
    found: int
    control_found: int  # hits for one that was kept on purpose, so that the search is known to find
    searched_bytes: int


class Port(Facts, frozen=True, kw_only=True, order=True):
    """A TCP port that is open."""

    family: str  # tcp, tcp6
    host: str
    number: int


class OpenPorts(Facts, frozen=True, kw_only=True):
    """The ports of the node's process, and those that its configuration names."""

    open: tuple[Port, ...]
    named: tuple[Port, ...]  # the host is a number; "" stands for any
    attempts: tuple[Attempt, ...] = ()  # handshakes without a certificate


# -- the admin socket, listeners, bounds (N1, N4, N9) -----------------------------------------------------------


class ListenerFact(Facts, frozen=True, kw_only=True):
    """One listener of the configuration."""

    side: str  # wan (links), lan (applications, old callers), reader (metrics, page)
    key: str  # import[1].listen
    host: str
    is_loopback: bool
    is_wildcard: bool


class Listeners(Facts, frozen=True, kw_only=True):
    """All TCP listeners of the configuration."""

    listeners: tuple[ListenerFact, ...]


class AdminSocket(Facts, frozen=True, kw_only=True):
    """The admin socket."""

    exists: bool
    is_socket: bool
    mode: int
    folder_mode: int
    folder_owner_is_trusted: bool  # root or the node's own user
    group_named: bool  # [node] admin_group


class FloodBounds(Facts, frozen=True, kw_only=True):
    """What strangers may cost."""

    half_open_total: int
    half_open_per_source: int
    handshake_bytes: int  # the most that one unfinished handshake may hold
    memory_bytes: int
    refusals: int  # handshakes that were refused while the cost was measured
    cpu_ms: float | None  # of the node's processor for each of them; None: not measured


# -- software (S1-S5, D1) ---------------------------------------------------------------------------------------


class Sbom(Facts, frozen=True, kw_only=True):
    """The list of components."""

    source: str  # a file's name, or: installed metadata
    version: str  # of pcgrelay in it
    own_version: str
    components: tuple[str, ...]
    missing: tuple[str, ...]  # requirements of pcgrelay that it does not list


class WheelFiles(Facts, frozen=True, kw_only=True):
    """Installed files held against RECORD."""

    recorded: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]


class Library(Facts, frozen=True, kw_only=True):
    """One OpenSSL, or the Python."""

    use: str  # frames, sessions, interpreter
    version: str
    kept_by: str  # Debian 12; OpenSSL; Python
    supported_until: date | None  # None: not known
    source: str = ""  # who says so
    reviewed: str = ""  # the month in which somebody last held it against that


class Libraries(Facts, frozen=True, kw_only=True):
    """All of them."""

    today: date
    libraries: tuple[Library, ...]


class Release(Facts, frozen=True, kw_only=True):
    """This release of pcgrelay."""

    today: date
    version: str
    node_version: str  # of the running node
    made: date | None  # None: not known


class Ends(Facts, frozen=True, kw_only=True):
    """What is in use and has an end."""

    today: date
    ends: tuple[tuple[str, date], ...]  # what, its last day
    without: tuple[str, ...]  # bearers of which no end is known
