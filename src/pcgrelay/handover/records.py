"""What a node's control plane leaves to the process that takes its place (docs/decisions/0009). No keys are in it.

The form is msgpack with names, so that a version reads the record of the one before: what is missing has its default,
and what is unknown is passed over. A field that has been here once is never used for anything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct


class LinkHandover(Struct, frozen=True, kw_only=True):
    """A link, whose lanes are handed over and whose control connection is not."""

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
    address: str = ""  # that was dialled, or of the listener that it came in at
    generation: int = 0
    authenticated_ms: int = 0
    lanes_up: dict[int, int] = {}


class PathHandover(Struct, frozen=True, kw_only=True):
    """An edge's end of a path that stands."""

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


class RelayPathHandover(Struct, frozen=True, kw_only=True):
    """A path that stands through a relay."""

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


class LabelsHandover(Struct, frozen=True, kw_only=True):
    """Labels that are in use are with their paths; these may not be given again yet."""

    following: int = 1
    resting: tuple[tuple[int, int], ...] = ()  # (when it may be used again, label)


class EntryHandover(Struct, frozen=True, kw_only=True):
    """What a neighbour said of an edge; it was proved when it came."""

    link: int
    entry: bytes
    signature: bytes
    chain: tuple[bytes, ...]
    path: tuple[str, ...]
    lives_until_ms: int = 0


def write_chain(chain: Sequence[x509.Certificate]) -> tuple[bytes, ...]:
    """Certificates as they are handed over."""
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)


def read_chain(chain: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Certificates that were handed over; ValueError if one is none."""
    return tuple(x509.load_der_x509_certificate(der) for der in chain)
