"""The realm bundle: what the realm as a whole has decided, signed (docs/protocol.md, 9.10; docs/decisions/0019).

A bundle names the organisations that are members, those whose nodes may be relays, what organisations are cleared for,
the revocation lists of the CAs, and the oldest version of pcgrelay. Each part may be left out: then it says nothing of
it. It narrows what the configuration of a node allows, and allows nothing itself.

It is believed by its signature alone, whoever brought it. The signer is the holder of the certificate whose only name
is `spiffe://REALM/realm/bundle`, issued by a CA that the node trusts. Such a certificate is none of a node, so its key
opens no link. Nothing here reads a clock, a disk or a socket.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from msgspec import Meta, Struct

from pcgrelay.config.settings import RealmTerms
from pcgrelay.errors import PcgrelayError
from pcgrelay.identity.certificates import UNREADABLE, Refusal, uri_names
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.dates import Span
from pcgrelay.identity.lists import is_revoked
from pcgrelay.identity.tls import chain_refusal, leaf_der, make_store, set_verify_time
from pcgrelay.model import DOTTED_LIMIT, Marking, NameProblem, check_dotted
from pcgrelay.signing import sign, verify

KIND = "pcgrelay-bundle-1"
SIGNED_BEFORE = b"pcgrelay realm bundle v1\0"
BUNDLE_MOST_BYTES = 1 << 20  # of what travels
NAMES_MOST = 10_000
LISTS_MOST = 16
CHAIN_MOST = 8
# Half of what an i64 holds, so that every counter that a bundle passes through can hold it.
EPOCH_MOST = (1 << 53) - 1
# A neighbour may bring an epoch that is greater by so much. Otherwise whoever once had the signer's key could use up
# all numbers with one bundle, and no later one could ever take its place. A file of the operator may jump further.
JUMP_MOST = 1 << 20
_END_MOST = 253_402_300_799  # the last second of the year 9999
_VERSION = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,4}){0,3}", re.ASCII)
_MARKINGS = dict(enumerate(Marking, 1))

# Every reason for which a bundle is refused; counters and log lines have no other.
MALFORMED = "bundle_malformed"
OTHER_REALM = "bundle_of_another_realm"
SIGNER = "bundle_signer"  # the certificate is not the one of a realm's signer
UNTRUSTED = "bundle_untrusted"  # the certificate is not issued by a CA in `trust`, is revoked or out of date
SIGNATURE = "bundle_signature"
EXPIRED = "bundle_expired"
NOT_YET_VALID = "bundle_not_yet_valid"
OLDER = "bundle_older"
JUMP = "bundle_jump"
FORKED = "bundle_forked"  # of the same epoch as the one in force, and another
REASONS = frozenset({MALFORMED, OTHER_REALM, SIGNER, UNTRUSTED, SIGNATURE, EXPIRED, NOT_YET_VALID, OLDER, JUMP, FORKED})

Name = Annotated[str, Meta(max_length=DOTTED_LIMIT + 2)]
Names = Annotated[tuple[Name, ...], Meta(max_length=NAMES_MOST)]
Cleared = tuple[Name, Annotated[int, Meta(ge=1, le=3)]]
Seconds = Annotated[int, Meta(ge=0, le=_END_MOST)]


class Content(Struct, array_like=True, frozen=True):
    """What is signed. Times are Unix times in seconds; None: the bundle says nothing of it."""

    kind: Annotated[str, Meta(max_length=32)]
    realm: Annotated[str, Meta(max_length=DOTTED_LIMIT)]
    epoch: Annotated[int, Meta(ge=1, le=EPOCH_MOST)]
    not_before: Seconds
    not_after: Seconds
    members: Names | None
    relays: Names | None
    clearances: Annotated[tuple[Cleared, ...], Meta(max_length=NAMES_MOST)] | None
    lists: Annotated[tuple[bytes, ...], Meta(max_length=LISTS_MOST)]  # CRLs in DER
    minimum: Annotated[str, Meta(max_length=24)]  # version; empty: none


class Envelope(Struct, array_like=True, frozen=True):
    """A content with its signature and the signer's certificates (DER, leaf first)."""

    content: bytes
    signature: Annotated[bytes, Meta(max_length=1_024)]
    chain: Annotated[tuple[Annotated[bytes, Meta(max_length=16_384)], ...], Meta(min_length=1, max_length=CHAIN_MOST)]


_envelopes: msgspec.msgpack.Decoder[Envelope] = msgspec.msgpack.Decoder(Envelope)
_contents: msgspec.msgpack.Decoder[Content] = msgspec.msgpack.Decoder(Content)


class BundleRefused(PcgrelayError):
    """A bundle is not taken. reason: one of REASONS; the sentence says what is wrong and how to mend it."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True)
class Bundle:
    """A bundle that was verified."""

    realm: str
    epoch: int
    span: Span
    terms: RealmTerms
    lists: tuple[bytes, ...]  # DER; each is judged as one that a neighbour brings
    minimum: str  # the oldest version; empty: any
    signer: tuple[x509.Certificate, ...]  # leaf first
    content: bytes  # what was signed
    data: bytes  # as it travels

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bundle."""
        return hashlib.sha256(self.data).digest()


def name_of(realm: str) -> bytes:
    """Return the name under which the bundle of a realm travels."""
    return hashlib.sha256(signer_uri(realm).encode()).digest()


def signer_uri(realm: str) -> str:
    """Return the name in the certificate of whoever signs the bundles of a realm."""
    return f"spiffe://{realm}/realm/bundle"


def make_bundle(
    realm: str,
    epoch: int,
    span: Span,
    terms: RealmTerms,
    *,
    lists: Iterable[bytes] = (),
    minimum: str = "",
    key: PrivateKeyTypes,
    chain: Sequence[x509.Certificate],
) -> bytes:
    """Encode and sign a bundle. PcgrelayError: the key is of a kind that cannot sign, or the bundle is too large."""
    numbers = {marking: number for number, marking in _MARKINGS.items()}
    content = Content(
        KIND,
        realm,
        epoch,
        int(span.start.timestamp()),
        int(span.end.timestamp()),
        terms.members,
        terms.relays,
        None if terms.clearances is None else tuple((name, numbers[marking]) for name, marking in terms.clearances),
        tuple(lists),
        minimum,
    )
    body = msgspec.msgpack.encode(content)
    signature = sign(key, SIGNED_BEFORE + body)
    data = msgspec.msgpack.encode(Envelope(body, signature, tuple(map(leaf_der, chain))))
    if len(data) > BUNDLE_MOST_BYTES:
        raise PcgrelayError(f"The bundle has {len(data):,} bytes, and {BUNDLE_MOST_BYTES:,} is the most; shorten it.")
    return data


def open_bundle(data: bytes, realm: str, credentials: Credentials, now: datetime | None) -> Bundle:
    """Decode a bundle and verify all of it but whether it is newer. Raises BundleRefused. Slow: not for the event loop.

    realm: of this node. credentials: whose trust and revocation lists count. now: None if the bundle was in force
    before, or a node starts with it. Then no dates and no revocation lists are judged: what was in force stays so.
    """
    envelope, content = _decoded(data)
    if content.realm != realm:
        raise BundleRefused(OTHER_REALM, f"The bundle is of another realm than {realm}; take the one of this realm.")
    bundle = _read(data, envelope, content, _signer(envelope, realm, credentials, now))
    try:
        verify(bundle.signer[0].public_key(), envelope.signature, SIGNED_BEFORE + envelope.content)
    except Exception:  # whatever the library makes of a key or signature that somebody else wrote
        raise BundleRefused(SIGNATURE, "The signature of the bundle is wrong; fetch the bundle again.") from None
    if now is not None:
        refuse_dates(bundle, now)
    return bundle


def unverified(data: bytes) -> Content:
    """Return what a bundle says, whoever signed it: for people, not for nodes. Raises BundleRefused."""
    return _decoded(data)[1]


def refuse_dates(bundle: Bundle, now: datetime) -> None:
    """Raise BundleRefused if a bundle is not in its time."""
    if now > bundle.span.end:
        words = f"The bundle expired on {bundle.span.end:%Y-%m-%d %H:%M} UTC; have the realm sign a new one."
        raise BundleRefused(EXPIRED, words)
    if now < bundle.span.start:
        words = f"The bundle is valid from {bundle.span.start:%Y-%m-%d %H:%M} UTC only; set the clock, or wait."
        raise BundleRefused(NOT_YET_VALID, words)


def refuse_epoch(bundle: Bundle, held: Bundle | None, *, told: bool) -> None:
    """Raise BundleRefused unless a bundle may take the place of the one that is held. told: a neighbour brought it."""
    if word := epoch_refusal(
        bundle.epoch, held, is_same=held is not None and bundle.content == held.content, told=told
    ):
        last = held.epoch if held else 0
        sentences = {
            OLDER: f"The bundle has epoch {bundle.epoch}, and epoch {last} is in force",
            FORKED: f"Another bundle with epoch {bundle.epoch} is in force",
            JUMP: f"The bundle has epoch {bundle.epoch}, which is too far from {last}",
        }
        raise BundleRefused(word, f"{sentences[word]}; sign one with a greater epoch.")


def epoch_refusal(epoch: int, held: Bundle | None, *, is_same: bool, told: bool) -> str:
    """Return why an epoch may not take the place of the one that is held; empty: it may, or it is the same bundle."""
    if held is not None and epoch < held.epoch:
        return OLDER
    if held is not None and epoch == held.epoch:
        return "" if is_same else FORKED
    most = min(EPOCH_MOST, (held.epoch if held else 0) + JUMP_MOST) if told else EPOCH_MOST
    return JUMP if epoch > most else ""


def version_numbers(text: str) -> tuple[int, ...]:
    """Return a version as numbers that compare; empty if the text is none."""
    return tuple(map(int, text.split("."))) if _VERSION.fullmatch(text) else ()


def is_below(version: str, minimum: str) -> bool:
    """Return whether a version is older than a minimum. What stands behind the numbers (rc1, dev0) does not count."""
    found = _VERSION.match(version)
    ours, least = version_numbers(found[0] if found else ""), version_numbers(minimum)
    width = max(len(ours), len(least))
    return ours + (0,) * (width - len(ours)) < least + (0,) * (width - len(least))


def check_signer(certificate: x509.Certificate, realm: str) -> None:
    """Raise BundleRefused unless a certificate is that of the realm's signer."""
    try:
        names, is_ca = uri_names(certificate)
    except UNREADABLE:
        raise _malformed() from None
    if names != [signer_uri(realm)] or is_ca:
        words = f"The bundle is not signed for {signer_uri(realm)}; have the realm's signer sign it."
        raise BundleRefused(SIGNER, words)


def _decoded(data: bytes) -> tuple[Envelope, Content]:
    if len(data) > BUNDLE_MOST_BYTES:
        raise _malformed()
    try:
        envelope = _envelopes.decode(data)
        content = _contents.decode(envelope.content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _malformed() from None
    if content.kind != KIND or content.not_before >= content.not_after:
        raise _malformed()
    return envelope, content


def _signer(
    envelope: Envelope, realm: str, credentials: Credentials, now: datetime | None
) -> tuple[x509.Certificate, ...]:
    """Return the verified certificates of the signer."""
    try:
        chain = tuple(x509.load_der_x509_certificate(der) for der in envelope.chain)
        check_signer(chain[0], realm)
        if now is None:
            credentials = replace(credentials, crls=(), received=())
        store = make_store(credentials)
        set_verify_time(store, now)
        word = chain_refusal(store, chain) or (Refusal.REVOKED if is_revoked(credentials.received, chain) else None)
    except BundleRefused:
        raise
    except Exception:  # whatever either library makes of certificates that somebody else wrote
        raise _malformed() from None
    if word:
        why = word.replace("_", " ")
        raise BundleRefused(UNTRUSTED, f"The certificate of the bundle's signer is refused here ({why}).")
    return chain


def _read(data: bytes, envelope: Envelope, content: Content, signer: tuple[x509.Certificate, ...]) -> Bundle:
    try:
        terms = RealmTerms(
            members=_patterns(content.members),
            relays=_patterns(content.relays),
            clearances=_clearances(content.clearances),
        )
    except NameProblem:
        raise _malformed() from None
    if content.minimum and not version_numbers(content.minimum):
        raise _malformed()
    span = Span(datetime.fromtimestamp(content.not_before, UTC), datetime.fromtimestamp(content.not_after, UTC))
    return Bundle(
        realm=content.realm,
        epoch=content.epoch,
        span=span,
        terms=terms,
        lists=content.lists,
        minimum=content.minimum,
        signer=signer,
        content=envelope.content,
        data=data,
    )


def check_pattern(text: str) -> str:
    """Return a pattern of organisations unchanged. NameProblem: it is none."""
    if text != "*":
        check_dotted(text.removeprefix("*."), "organisation")
    return text


def _patterns(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if names is None:
        return None
    if not names or len(set(names)) != len(names):
        raise _malformed()  # a list of nobody is a mistake that would end every link
    return tuple(map(check_pattern, names))


def _clearances(pairs: tuple[tuple[str, int], ...] | None) -> tuple[tuple[str, Marking], ...] | None:
    if pairs is None:
        return None
    if not pairs or len({name for name, _ in pairs}) != len(pairs):
        raise _malformed()
    return tuple((check_dotted(name, "organisation"), _MARKINGS[number]) for name, number in sorted(pairs))


def _malformed() -> BundleRefused:
    return BundleRefused(MALFORMED, "This is no realm bundle, or it is damaged; fetch it again.")
