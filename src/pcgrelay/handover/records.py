"""Records of links, sessions and paths for the process that replaces this one (docs/decisions/0009); without keys.

The format is msgpack with field names, so that a version reads the record of the one before: missing fields have
defaults, and unknown ones are ignored. The name of a field is never reused for another meaning.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct


class LinkHandover(Struct, frozen=True, kw_only=True):
    """A link; its lanes are handed over, its control connection is not."""

    number: int
    peer: str
    peer_role: int
    bearer: str
    dialled: bool
    lanes: int
    cap: int
    suite: int
    group: str
    tls_suite: str
    link_id: bytes
    chain: tuple[bytes, ...]
    draining: bool = False
    opened_ms: int = 0
    address: str = ""  # the address that was dialled, or that of the listener
    generation: int = 0
    authenticated_ms: int = 0
    lanes_up: dict[int, int] = {}
    discover: str = ""  # the name of DNS that led to the neighbour
    found: tuple[tuple[int, str, int], ...] = ()  # where the host was last: family, number, port; the latest first
    features: tuple[str, ...] = ()  # those that both ends list


class UdpSocketHandover(Struct, frozen=True, kw_only=True):
    """A socket for UDP lanes, which the core hands over."""

    number: int
    worker: int
    host: str  # numeric
    asked: int  # the port that was asked for; 0: any
    port: int
    links: tuple[int, ...] = ()  # which use it


class PathHandover(Struct, frozen=True, kw_only=True):
    """An edge's end of an open path."""

    link: int
    peer: str
    in_label: int
    out_label: int
    flows: int
    cap: int
    marking: int
    priority: int
    initiator: bool
    via: tuple[str, ...] = ()


class SessionHandover(Struct, frozen=True, kw_only=True):
    """A session that has been up."""

    id: bytes
    number: int
    edge: str
    marking: int
    initiator: bool
    priority: int
    began_ms: int
    flows: int
    cap: int
    suite: int
    group: str
    tls_suite: str
    chain: tuple[bytes, ...]
    generation: int = 0
    attempted: int = 0
    authenticated_ms: int = 0
    stalled: bool = False
    stalled_ms: int = 0
    unresumed: tuple[int, ...] = ()
    path: PathHandover | None = None
    features: tuple[str, ...] = ()  # those that both ends list


class RelayPathHandover(Struct, frozen=True, kw_only=True):
    """An open path through a relay."""

    number: int
    session: bytes
    source: str
    destination: str
    a: int
    b: int
    a_in: int
    a_out: int
    b_in: int
    flows: int
    cap: int
    priority: int
    opened_ms: int
    marking: int = 3  # an older version does not say: judged as the highest, the path is opened anew where that matters
    via: tuple[str, ...] = ()


class LabelsHandover(Struct, frozen=True, kw_only=True):
    """Labels that must not be reused yet; those in use are in the records of their paths."""

    following: int = 1
    resting: tuple[tuple[int, int], ...] = ()  # (when it may be used again, label)


class EntryHandover(Struct, frozen=True, kw_only=True):
    """An entry of the catalogue from a neighbour; its signature was verified when it arrived."""

    link: int
    entry: bytes
    signature: bytes
    chain: tuple[bytes, ...]
    path: tuple[str, ...]
    lives_until_ms: int = 0


def write_chain(chain: Sequence[x509.Certificate]) -> tuple[bytes, ...]:
    """Return certificates as DER."""
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)


def read_chain(chain: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Parse certificates from DER. ValueError: one cannot be parsed."""
    return tuple(x509.load_der_x509_certificate(der) for der in chain)
