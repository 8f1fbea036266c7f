"""Catalogue entries: which edge exports what, and over which neighbour it is reached (docs/protocol.md, 9.4).

An edge signs its entry. Relays pass the entry on unchanged and add themselves to its path. The signature proves the
content; nothing proves the path, but a relay that lies about a path only attracts traffic that it cannot read. A path
is accepted only from a neighbour that is a relay.
The table is a path vector: for each edge and link, what that link sent last. The best route has the shortest path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from msgspec import Meta, Raw, Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.model import URI_LIMIT, NameProblem, NodeId, check_label
from pcgrelay.signing import sign, verify

ENTRY_KIND = "pcgrelay-entry-1"
SIGNED_BEFORE = b"pcgrelay catalogue entry v1\0"
LIFE_MOST_S = 3600
MESSAGE_LIMIT_BYTES = 262_144
ADVERT_FORM_BYTES = 64  # headers of arrays and byte strings in an ADVERT, with a wide margin
SERVICES_MOST = 1024
RELAYS_MOST = 8
RELAYS_NAMED_MOST = 8
EDGES_MOST = 10_000
# Objects that are shared, so that a realm with many ways to each edge needs little memory. Beyond that they are not.
PATHS_HELD = 1_024  # for each link
AUTHORITIES_HELD = 64
IDENTITIES_HELD = 4_096
# Limit of an entry, its signature and its chain together. Each relay on the path adds its name, so the first message
# must leave room for all names: otherwise the last relay could not pass on what the first accepted.
ENTRY_MOST_BYTES = MESSAGE_LIMIT_BYTES - RELAYS_MOST * (URI_LIMIT + 3) - ADVERT_FORM_BYTES

STATE_READY, STATE_DRAIN, STATE_DOWN = 1, 2, 3


class Offer(Struct, array_like=True, frozen=True, gc=False):
    """One service in an entry."""

    service: Annotated[str, Meta(max_length=63)]
    marking: Annotated[int, Meta(ge=1, le=3)]
    precedence: Annotated[int, Meta(ge=1, le=3)] = 2
    weight: Annotated[int, Meta(ge=0, le=100)] = 100
    state: Annotated[int, Meta(ge=1, le=3)] = STATE_READY
    priority: Annotated[int, Meta(ge=0, le=2)] = 0
    # Of `Transport`. One that this version does not know is nobody's here, and refuses no entry.
    transport: Annotated[int, Meta(ge=0, le=255)] = 0


class Entry(Struct, array_like=True, frozen=True):
    """The content that an edge signs. not_after: Unix time in seconds."""

    kind: Annotated[str, Meta(max_length=32)]
    edge: Annotated[str, Meta(max_length=URI_LIMIT)]
    sequence: Annotated[int, Meta(ge=0)]
    not_after: Annotated[int, Meta(ge=0)]
    offers: Annotated[tuple[Offer, ...], Meta(max_length=SERVICES_MOST)]
    # The relays that the edge was linked to, as it says: for people who look at the realm, and for no decision. So
    # whatever stands there refuses nothing, and is read only when somebody looks (`entry_relays`).
    relays: Raw = Raw(b"\x90")  # an empty array


class EntryRefused(PcgrelayError):
    """An entry was refused; reason: one word of REASONS or of `Refusal`."""

    def __init__(self, reason: str, seconds: int | None = None) -> None:
        super().__init__(f"A catalogue entry was refused: {reason.replace('_', ' ')}.")
        self.reason = reason
        self.seconds = seconds  # by how much a date is wrong; None if the reason is not a date


class SignedEntry(Struct, frozen=True, gc=False):
    """An encoded entry with its signature and its signer's certificates (DER, leaf first), as ADVERT carries them."""

    entry: bytes
    signature: bytes
    chain: tuple[bytes, ...]


class VerifiedEntry(Struct, frozen=True, gc=False):
    """An entry, verified and decoded. It is the same whichever link it came over."""

    signed: SignedEntry
    edge: NodeId
    sequence: int
    lives_until_ms: int  # on the monotonic clock, so that a jump of the wall clock does not expire it
    offers: tuple[Offer, ...]


class ReceivedEntry(Struct, frozen=True, gc=False):
    """An entry as it came over one link.

    A relay has 100,000 of these in a realm of 50 relays and 2,000 edges. So it is small, and the collector of garbage
    does not look at it: nothing in it leads back to it.
    """

    verified: VerifiedEntry
    path: tuple[str, ...]  # identities of the relays, nearest to the edge first

    @property
    def signed(self) -> SignedEntry:
        return self.verified.signed

    @property
    def edge(self) -> NodeId:
        return self.verified.edge

    @property
    def sequence(self) -> int:
        return self.verified.sequence

    @property
    def lives_until_ms(self) -> int:
        return self.verified.lives_until_ms

    @property
    def offers(self) -> tuple[Offer, ...]:
        return self.verified.offers


# Every reason for which an entry is refused. The list is closed: a neighbour cannot invent counters or log fields.
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


_Relays = Annotated[tuple[Annotated[str, Meta(max_length=URI_LIMIT)], ...], Meta(max_length=RELAYS_NAMED_MOST)]
_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)
_relays_decoder: msgspec.msgpack.Decoder[tuple[str, ...]] = msgspec.msgpack.Decoder(_Relays)


def sign_entry(
    edge: NodeId,
    offers: Sequence[Offer],
    *,
    sequence: int,
    not_after: int,
    key: PrivateKeyTypes,
    chain: tuple[bytes, ...],
    relays: tuple[str, ...] = (),
) -> SignedEntry:
    """Encode and sign the entry of this edge.

    not_after: Unix time in seconds. chain: DER certificates, leaf first. relays: URIs of those that it is linked to,
    RELAYS_NAMED_MOST at most. Raises PcgrelayError for a key of another kind
    than P-256, P-384, Ed25519 or RSA.
    """
    entry = msgspec.msgpack.encode(
        Entry(ENTRY_KIND, edge.uri, sequence, not_after, tuple(offers), Raw(msgspec.msgpack.encode(relays)))
    )
    return SignedEntry(entry, sign(key, SIGNED_BEFORE + entry), chain)


def decode_entry(signed: SignedEntry, now_s: int) -> Entry:
    """Decode an entry and check its form, dates and service names. The signature is for `verify_entry`.

    now_s: Unix time in seconds. Raises EntryRefused.
    """
    entry = open_entry(signed, now_s)
    check_names(entry)
    return entry


def open_entry(signed: SignedEntry, now_s: int) -> Entry:
    """As `decode_entry`, without checking the service names: that costs as much as a signature."""
    check_size(signed)
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


def check_size(signed: SignedEntry) -> None:
    """Check the length of an entry with its signature and chain. Raises EntryRefused."""
    if len(signed.entry) + len(signed.signature) + sum(map(len, signed.chain)) > ENTRY_MOST_BYTES:
        raise EntryRefused("too_large")


def entry_relays(signed: SignedEntry) -> tuple[str, ...]:
    """Return the relays that an entry names, which was verified before. They may not have the form of an identity.

    They are read when somebody asks: a catalogue keeps no room for them.
    """
    try:
        return _relays_decoder.decode(_decoder.decode(signed.entry).relays)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()


def check_names(entry: Entry) -> None:
    """Check the service names. Raises EntryRefused for an invalid name or one that appears twice."""
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
    """Verify the signature and return the edge that signed.

    chain_refusal: the reason for which a chain is not trusted, or None. identity_of: the identity in a leaf; it raises
    a PcgrelayError. Both judge as in a handshake. Raises EntryRefused, or the PcgrelayError of identity_of.

    A member wrote the certificates, and the neighbour that passed them on need not have parsed them as this library
    does. Any exception of the library is therefore a refusal of the entry, never an error of the link.
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
        verify(key, signed.signature, SIGNED_BEFORE + signed.entry)
    except Exception:
        raise EntryRefused("bad_signature") from None
    return edge


def path_refusal(path: Sequence[str], edge: str, sender: str, me: str) -> str | None:
    """Return the reason for which an entry cannot have come by this path from that neighbour, or None.

    path: relays, nearest to the edge first. All are identities as URIs.
    """
    if len(path) > RELAYS_MOST:
        return "path_too_long"
    if not all(map(_is_identity, path)):
        return "malformed"
    if me in path or edge == me:
        return "loop"
    if len(set(path)) != len(path) or edge in path:
        return "malformed"
    return None if sender == (path[-1] if path else edge) else "wrong_sender"


@lru_cache(IDENTITIES_HELD)
def _is_identity(uri: str) -> bool:
    try:
        NodeId.from_uri(uri)
    except NameProblem:
        return False
    return True


@lru_cache(EDGES_MOST)
def node_of(uri: str) -> NodeId:
    """Return the node of an identity, the same object each time: to parse it took a fifth of the time of an advert.

    Raises NameProblem.
    """
    return NodeId.from_uri(uri)


@lru_cache(AUTHORITIES_HELD)
def one_certificate(der: bytes) -> bytes:
    """Return the same object for equal certificates: those of authorities are in the chain of each edge."""
    return der


class Paths:
    """One object for each path that a link tells of: it is the path to every edge that hangs on the same relay."""

    def __init__(self) -> None:
        self._held: dict[int, dict[tuple[str, ...], tuple[str, ...]]] = {}  # by link

    def one(self, link: int, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return the object that is held for an equal path, which is now this one if there was none."""
        held = self._held.setdefault(link, {})
        if len(held) >= PATHS_HELD:
            held.clear()  # what is in use stays with those that use it
        return held.setdefault(path, path)

    def link_gone(self, link: int) -> None:
        """Forget the paths that a link told of."""
        self._held.pop(link, None)


class _Ways(dict[int, ReceivedEntry]):
    """The entries of one edge by link, with what nearly every advert and every second ask of them.

    A relay has 50 of them for an edge, so neither is looked for each time.
    """

    __slots__ = ("expires_ms", "newest")

    newest: ReceivedEntry
    expires_ms: int  # before then none of them expires


class Catalogue:
    """All entries, by edge and by the number of the link that sent them. The caller verifies entries before `put`."""

    def __init__(self) -> None:
        self._edges: dict[NodeId, _Ways] = {}
        self._organisations: dict[str, dict[NodeId, None]] = {}

    def edges(self) -> Iterable[NodeId]:
        return self._edges.keys()

    def edges_of(self, organisation: str) -> Iterable[NodeId]:
        """The edges of one organisation."""
        return self._organisations.get(organisation, {}).keys()

    def ways(self, edge: NodeId) -> dict[int, ReceivedEntry]:
        """The entries of this edge, by link."""
        return self._edges.get(edge, {})

    def put_refusal(self, edge: NodeId, sequence: int) -> str | None:
        """Return the reason for which an entry would be refused, or None."""
        ways = self._edges.get(edge)
        if ways is None:
            return "too_many_edges" if len(self._edges) >= EDGES_MOST else None
        return "old_sequence" if sequence < ways.newest.sequence else None

    def put(self, link: int, known: ReceivedEntry) -> None:
        """Store an entry; it replaces the one that this link sent before."""
        edge, lives_until_ms = known.verified.edge, known.verified.lives_until_ms
        ways = self._edges.get(edge)
        if ways is None:
            ways = self._edges[edge] = _Ways()
            ways.newest, ways.expires_ms = known, lives_until_ms
            self._organisations.setdefault(edge.organisation, {})[edge] = None
        before = ways.get(link)
        ways[link] = known
        ways.expires_ms = min(ways.expires_ms, lives_until_ms)
        if known.verified.sequence > ways.newest.verified.sequence:
            ways.newest = known
        elif before is ways.newest:
            ways.newest = _newest(ways)

    def withdraw(self, link: int, edge: NodeId) -> bool:
        """Remove the entry of an edge that a link sent; whether there was one."""
        ways = self._edges.get(edge)
        if ways is None or (gone := ways.pop(link, None)) is None:
            return False
        if not ways:
            del self._edges[edge]
            of_organisation = self._organisations[edge.organisation]
            del of_organisation[edge]
            if not of_organisation:
                del self._organisations[edge.organisation]
        elif gone is ways.newest:
            ways.newest = _newest(ways)
        return True

    def link_gone(self, link: int) -> list[NodeId]:
        """Remove all entries that a link sent; return their edges."""
        return [edge for edge in list(self._edges) if self.withdraw(link, edge)]

    def expire(self, now_ms: int) -> list[NodeId]:
        """Remove the entries that have expired; return their edges, once for each entry."""
        touched = []
        for edge, ways in [(edge, ways) for edge, ways in self._edges.items() if ways.expires_ms < now_ms]:
            for link in [link for link, known in ways.items() if known.lives_until_ms < now_ms]:
                self.withdraw(link, edge)
                touched.append(edge)
            ways.expires_ms = min((known.lives_until_ms for known in ways.values()), default=0)
        return touched

    def best(self, edge: NodeId, usable: Callable[[int], bool] = lambda link: True) -> tuple[int, ReceivedEntry] | None:
        """The link with the shortest path, and its entry; among equals the newest entry, then the lowest link."""
        ways = [(link, known) for link, known in self.ways(edge).items() if usable(link)]
        return min(ways, key=lambda way: (len(way[1].path), -way[1].sequence, way[0]), default=None)

    def newest(self, edge: NodeId) -> ReceivedEntry | None:
        """The entry with the greatest sequence, whatever link it came over, or None: its content is what holds."""
        ways = self._edges.get(edge)
        return None if ways is None else ways.newest


def _newest(ways: _Ways) -> ReceivedEntry:
    return max(ways.values(), key=lambda known: known.verified.sequence)
