"""Who exports what, and through which neighbour it is reached (docs/protocol.md, 9.4).

An edge signs what it exports. Relays pass the entry on unchanged and add themselves to its path, so an entry proves its
content by signature and its path by nothing: a relay that lies about a path only draws traffic that it cannot read.
Only a neighbour that is a relay is believed a path at all.
The table is a path vector: for each edge and link what that link last said. The best is the shortest path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from msgspec import Meta, Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.model import URI_LIMIT, NameProblem, NodeId, check_label

ENTRY_KIND = "pcgrelay-entry-1"
SIGNED_BEFORE = b"pcgrelay catalogue entry v1\0"
LIFE_MOST_S = 3600
MESSAGE_LIMIT_BYTES = 262_144
ADVERT_FORM_BYTES = 64  # heads of arrays and byte strings in an ADVERT, with much to spare
SERVICES_MOST = 1024
RELAYS_MOST = 8
EDGES_MOST = 10_000
# What an entry, its signature and chain may take together. Each relay of a way adds its name, so a message that the
# first can still send must have room for the names of all: else the last could not pass on what the first has taken.
ENTRY_MOST_BYTES = MESSAGE_LIMIT_BYTES - RELAYS_MOST * (URI_LIMIT + 3) - ADVERT_FORM_BYTES
PSS_SALT_BYTES = 32

STATE_READY, STATE_DRAIN, STATE_DOWN = 1, 2, 3


class Offer(Struct, array_like=True, frozen=True):
    """One service in an entry."""

    service: Annotated[str, Meta(max_length=63)]
    marking: Annotated[int, Meta(ge=1, le=3)]
    precedence: Annotated[int, Meta(ge=1, le=3)] = 2
    weight: Annotated[int, Meta(ge=0, le=100)] = 100
    state: Annotated[int, Meta(ge=1, le=3)] = STATE_READY
    priority: Annotated[int, Meta(ge=0, le=2)] = 0


class Entry(Struct, array_like=True, frozen=True):
    """What an edge signs."""

    kind: Annotated[str, Meta(max_length=32)]
    edge: Annotated[str, Meta(max_length=URI_LIMIT)]
    sequence: Annotated[int, Meta(ge=0)]
    not_after: Annotated[int, Meta(ge=0)]
    offers: Annotated[tuple[Offer, ...], Meta(max_length=SERVICES_MOST)]


class EntryRefused(PcgrelayError):
    """An entry is not taken; reason says why in one word."""

    def __init__(self, reason: str, seconds: int | None = None) -> None:
        super().__init__(f"A catalogue entry was refused: {reason.replace('_', ' ')}.")
        self.reason = reason
        self.seconds = seconds  # of dates: by how much they are wrong


@dataclass(frozen=True, slots=True)
class SignedEntry:
    """An entry with its proof, as it travels."""

    entry: bytes
    signature: bytes
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class ReceivedEntry:
    """An entry that one link told, proved and read."""

    signed: SignedEntry
    edge: NodeId
    sequence: int
    lives_until_ms: int  # on the monotonic clock: what was good when it came does not die of a clock that jumps
    offers: tuple[Offer, ...]
    path: tuple[str, ...]  # identities of the relays, nearest to the edge first


# Every reason for which an entry is not taken: what a neighbour can make this node count and say is a closed list.
OTHER = "other"
REASONS = frozenset(
    {
        "malformed",
        "too_large",
        "expired",
        "lives_too_long",
        "not_a_relay",
        "path_too_long",
        "loop",
        "wrong_sender",
        "too_many_edges",
        "old_sequence",
        "advert_budget",
        "wrong_edge",
        "bad_signature",
        OTHER,
    }
)


_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)


def sign_entry(
    edge: NodeId,
    offers: Sequence[Offer],
    *,
    sequence: int,
    not_after: int,
    key: PrivateKeyTypes,
    chain: tuple[bytes, ...],
) -> SignedEntry:
    """An edge's own entry."""
    entry = msgspec.msgpack.encode(Entry(ENTRY_KIND, edge.uri, sequence, not_after, tuple(offers)))
    return SignedEntry(entry, _sign(key, SIGNED_BEFORE + entry), chain)


def decode_entry(signed: SignedEntry, now_s: int) -> Entry:
    """The content, if its form and dates are right; whether it is true is for `verify_entry`."""
    entry = open_entry(signed, now_s)
    check_names(entry)
    return entry


def open_entry(signed: SignedEntry, now_s: int) -> Entry:
    """The same, but for the names of its services: to look at those costs as much as a signature."""
    if len(signed.entry) + len(signed.signature) + sum(map(len, signed.chain)) > ENTRY_MOST_BYTES:
        raise EntryRefused("too_large")
    try:
        entry = _decoder.decode(signed.entry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise EntryRefused("malformed") from None
    if entry.kind != ENTRY_KIND:
        raise EntryRefused("malformed")
    if entry.not_after < now_s:
        raise EntryRefused("expired", now_s - entry.not_after)
    if entry.not_after > now_s + LIFE_MOST_S:
        raise EntryRefused("lives_too_long", entry.not_after - now_s - LIFE_MOST_S)
    return entry


def check_names(entry: Entry) -> None:
    """EntryRefused: a service has a name that is none, or that of another."""
    try:
        names = [check_label(offer.service, "service name") for offer in entry.offers]
    except NameProblem:
        raise EntryRefused("malformed") from None
    if len(set(names)) != len(names):
        raise EntryRefused("malformed")


def verify_entry(
    signed: SignedEntry,
    entry: Entry,
    chain_refusal: Callable[[Sequence[x509.Certificate]], str | None],
    identity_of: Callable[[x509.Certificate], NodeId],
) -> NodeId:
    """The edge that signed it. Both callables judge as in a handshake; identity_of refuses by a `PcgrelayError`.

    The certificates are a member's, and who passed them on need not have read them as this library does. So whatever
    the library makes of them is a refusal of this entry, and never an error of the link that it came over.
    """
    try:
        chain = [x509.load_der_x509_certificate(der) for der in signed.chain]
        edge = identity_of(chain[0])
        word = chain_refusal(chain) if edge.uri == entry.edge else "wrong_edge"
        key = chain[0].public_key()
    except PcgrelayError:
        raise
    except Exception:
        raise EntryRefused("malformed") from None
    if word:
        raise EntryRefused(word)
    try:
        _verify(key, signed.signature, SIGNED_BEFORE + signed.entry)
    except Exception:
        raise EntryRefused("bad_signature") from None
    return edge


def path_refusal(path: Sequence[str], edge: str, sender: str, me: str) -> str | None:
    """Why an entry that a neighbour sent cannot have come this way, or nothing."""
    if len(path) > RELAYS_MOST:
        return "path_too_long"
    if not all(map(_is_identity, path)):
        return "malformed"
    if me in path or edge == me:
        return "loop"
    if len(set(path)) != len(path) or edge in path:
        return "malformed"
    return None if sender == (path[-1] if path else edge) else "wrong_sender"


def _is_identity(uri: str) -> bool:
    try:
        NodeId.from_uri(uri)
    except NameProblem:
        return False
    return True


class Catalogue:
    """What every link said of every edge. Links are numbers; the caller proves entries before it takes them in."""

    def __init__(self) -> None:
        self._edges: dict[NodeId, dict[int, ReceivedEntry]] = {}

    def edges(self) -> Iterable[NodeId]:
        return self._edges.keys()

    def ways(self, edge: NodeId) -> dict[int, ReceivedEntry]:
        """All that links said of this edge, by link."""
        return self._edges.get(edge, {})

    def put_refusal(self, edge: NodeId, sequence: int) -> str | None:
        """Why an entry would not be taken, or nothing."""
        ways = self._edges.get(edge)
        if ways is None:
            return "too_many_edges" if len(self._edges) >= EDGES_MOST else None
        newest = max(known.sequence for known in ways.values())
        return "old_sequence" if sequence < newest else None

    def put(self, link: int, known: ReceivedEntry) -> None:
        """Take in what a link says; it replaces what this link said before."""
        self._edges.setdefault(known.edge, {})[link] = known

    def withdraw(self, link: int, edge: NodeId) -> bool:
        """A link no longer reaches that edge; answers whether it did before."""
        ways = self._edges.get(edge, {})
        if ways.pop(link, None) is None:
            return False
        if not ways:
            del self._edges[edge]
        return True

    def link_gone(self, link: int) -> list[NodeId]:
        """Forget all that a link said; answers the edges that this touches."""
        return [edge for edge in list(self._edges) if self.withdraw(link, edge)]

    def expire(self, now_ms: int) -> list[NodeId]:
        """Forget what is past its time; answers the edges that this touches."""
        touched = []
        for edge, ways in list(self._edges.items()):
            for link in [link for link, known in ways.items() if known.lives_until_ms < now_ms]:
                self.withdraw(link, edge)
                touched.append(edge)
        return touched

    def best(self, edge: NodeId, usable: Callable[[int], bool] = lambda link: True) -> tuple[int, ReceivedEntry] | None:
        """The link with the shortest path; the newest entry, then the lowest link, decide between equals."""
        ways = [(link, known) for link, known in self.ways(edge).items() if usable(link)]
        return min(ways, key=lambda way: (len(way[1].path), -way[1].sequence, way[0]), default=None)

    def newest(self, edge: NodeId) -> ReceivedEntry | None:
        """The entry whose content holds, whatever link it came over."""
        return max(self.ways(edge).values(), key=lambda known: known.sequence, default=None)


def passed_on(best: tuple[int, ReceivedEntry] | None, link: int, neighbour: NodeId, me: NodeId) -> ReceivedEntry | None:
    """What a relay tells one neighbour of an edge: the best way with itself added, unless it came from there."""
    if best is None:
        return None
    source, known = best
    if source == link or known.edge == neighbour or neighbour.uri in known.path or len(known.path) >= RELAYS_MOST:
        return None
    return ReceivedEntry(
        known.signed, known.edge, known.sequence, known.lives_until_ms, known.offers, (*known.path, me.uri)
    )


def _sign(key: PrivateKeyTypes, data: bytes) -> bytes:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(_hash_of(key.curve)))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PSS, hashes.SHA256())
    raise PcgrelayError("The node's key is of a kind that cannot sign a catalogue entry; use P-256, Ed25519 or RSA.")


def _verify(key: object, signature: bytes, data: bytes) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(_hash_of(key.curve)))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, _PSS, hashes.SHA256())
    else:
        raise InvalidSignature


def _hash_of(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    return hashes.SHA256() if isinstance(curve, ec.SECP256R1) else hashes.SHA384()


_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=PSS_SALT_BYTES)
