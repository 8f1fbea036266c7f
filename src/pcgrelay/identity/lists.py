"""Revocation lists that come from neighbours beside those of the file (pure; docs/decisions/0015).

A list counts by who signed it, never by who brought it. It is taken if

    it is whole     DER, with a number, without a critical extension, and no delta: the list of everything of its CA
    it is trusted   its CA is an anchor of `trust`, by name and key, and the signature is right; among anchors of one
                name it says whose it is, for OpenSSL would else hold it against the members of the other
    it is current   begun, and not over: an expired list would shut everybody out
    it is newer     its number is greater than that of the list in force, and it does not begin before that

so the number of a CA's list only ever rises at a node, whatever order lists come in, and whoever replays old ones.
Where the file has lists, the newest of each CA is in force, and OpenSSL judges by it: nobody is let in without one.
Where it has none, the operator has not asked for that. There a list that came refuses whom it names, and nobody for
want of a list: a CA that signs one must not shut out the members of another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pcgrelay.errors import PcgrelayError
from pcgrelay.identity.certificates import UNREADABLE, crl_signed_by, issued_by
from pcgrelay.identity.credentials import Credentials, ReceivedList

EPOCH_MOST = (1 << 64) - 1  # as the protocol carries it; RFC 5280, 5.2.3, allows 20 octets


class ListRefused(PcgrelayError):
    """A list is not taken. reason: one word for counters and log."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The revocation list is not taken: {reason.replace('_', ' ')}.")
        self.reason = reason


@dataclass(frozen=True)
class RevocationList:
    """A list that was verified."""

    issuer: bytes  # SHA-256 of the CA's subjectPublicKeyInfo
    number: int
    crl: x509.CertificateRevocationList
    source: str = ""  # the neighbour that brought it; empty: the file

    @cached_property
    def der(self) -> bytes:
        """The list as it travels."""
        return self.crl.public_bytes(Encoding.DER)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the list."""
        return hashlib.sha256(self.der).digest()

    @cached_property
    def entries(self) -> int:
        """How many certificates it revokes."""
        return len(self.crl)

    def is_current(self, now: datetime) -> bool:
        """Whether the list is in its time."""
        return self.crl.last_update_utc <= now and (self.crl.next_update_utc or now) >= now

    def replaces(self, other: RevocationList | None) -> bool:
        """Whether it is newer. OpenSSL goes by the beginning, so that must not go back either."""
        return other is None or (self.number > other.number and self.crl.last_update_utc >= other.crl.last_update_utc)


def issuer_of(certificate: x509.Certificate) -> bytes:
    """Return the name under which the lists of a CA travel. ValueError: its key is of a kind that is not known."""
    try:
        public = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UnsupportedAlgorithm:
        raise ValueError("the kind of key is not known") from None
    return hashlib.sha256(public).digest()


def anchors_of(trust: Iterable[x509.Certificate]) -> dict[bytes, x509.Certificate]:
    """Return the trusted CAs by that name; those whose key is not known here are left out."""
    return dict(_named(trust))


def read_list(
    der: bytes, source: str, anchors: Mapping[bytes, x509.Certificate], now: datetime | None
) -> RevocationList:
    """Parse and verify a list that a neighbour brought. Raises ListRefused. Slow: not for the event loop.

    now: None if it was in force before, and stays so though it may be over by now.
    """
    try:
        crl = x509.load_der_x509_crl(der)
        found = _verified(crl, source, anchors)
        is_same = found.der == der
        is_current = found.is_current(now or crl.last_update_utc)
    except UNREADABLE:
        raise ListRefused("bad_list") from None
    if not is_same:
        raise ListRefused("bad_list")
    if now is not None and not is_current:
        raise ListRefused("list_not_current")
    return found


def lists_in_force(credentials: Credentials) -> dict[bytes, RevocationList]:
    """Return the newest list of each trusted CA, of those that may travel. Slow: it verifies signatures."""
    anchors = anchors_of(credentials.trust)
    found: dict[bytes, RevocationList] = {}
    brought = {id(each.crl): each.source for each in credentials.received}
    for crl in (*credentials.crls, *(each.crl for each in credentials.received)):
        try:
            each = _verified(crl, brought.get(id(crl), ""), anchors)
        except (ListRefused, *UNREADABLE):
            continue
        if each.replaces(found.get(each.issuer)):
            found[each.issuer] = each
    return found


def with_received(credentials: Credentials, received: Iterable[RevocationList]) -> Credentials:
    """Return credentials as the files have them, with lists of neighbours where these are newer.

    credentials: without received ones. A list whose CA is no longer trusted is dropped. Slow: it verifies signatures.
    """
    own = lists_in_force(credentials)
    anchors = anchors_of(credentials.trust)
    taken = [each for each in received if each.issuer in anchors and each.replaces(own.get(each.issuer))]
    if not taken:
        return credentials
    kept = tuple(
        ReceivedList(each.crl, anchors[each.issuer], each.source, frozenset(_serials(each.crl))) for each in taken
    )
    if not credentials.crls:
        return replace(credentials, received=kept)
    replaced = [own[each.issuer].crl for each in taken if each.issuer in own]
    left = [crl for crl in credentials.crls if not any(crl is each for each in replaced)]
    return replace(
        credentials,
        crls=(*left, *(each.crl for each in taken)),
        received=kept,
        replaced=tuple(replaced),
    )


def received_of(credentials: Credentials, in_force: Mapping[bytes, RevocationList]) -> list[RevocationList]:
    """Return the lists that neighbours brought, of those in force."""
    brought = {id(each.crl) for each in credentials.received}
    return [each for each in in_force.values() if id(each.crl) in brought]


def newest(lists: Iterable[RevocationList]) -> list[RevocationList]:
    """Return the newest list of each CA."""
    found: dict[bytes, RevocationList] = {}
    for each in lists:
        if each.replaces(found.get(each.issuer)):
            found[each.issuer] = each
    return list(found.values())


def is_revoked(received: Sequence[ReceivedList], chain: Sequence[x509.Certificate]) -> bool:
    """Whether a list of a neighbour names a certificate of a chain. A serial number is one of its CA's key alone."""
    return any(
        certificate.serial_number in each.serials and issued_by(certificate, each.issuer)
        for each in received
        for certificate in chain
    )


def _named(trust: Iterable[x509.Certificate]) -> Iterator[tuple[bytes, x509.Certificate]]:
    for certificate in trust:
        try:
            yield issuer_of(certificate), certificate
        except ValueError:
            continue


def _verified(
    crl: x509.CertificateRevocationList, source: str, anchors: Mapping[bytes, x509.Certificate]
) -> RevocationList:
    """Raises ListRefused, or one of UNREADABLE."""
    issuers = [(name, anchor) for name, anchor in anchors.items() if anchor.subject == crl.issuer]
    if not issuers:
        raise ListRefused("list_of_unknown_ca")
    issuer = next((name for name, anchor in issuers if crl_signed_by(crl, anchor)), None)
    if issuer is None:
        raise ListRefused("list_signature")
    if len(issuers) > 1 and not _says_whose(crl, anchors[issuer]):
        raise ListRefused("list_ambiguous")
    number = None
    for extension in crl.extensions:
        if extension.critical or isinstance(extension.value, x509.DeltaCRLIndicator):
            raise ListRefused("list_of_a_part")  # scoped, indirect, or of changes alone
        if isinstance(extension.value, x509.CRLNumber):
            number = extension.value.crl_number
    if number is None or not 0 <= number <= EPOCH_MOST:
        raise ListRefused("list_without_number")
    return RevocationList(issuer, number, crl, source)


def _says_whose(crl: x509.CertificateRevocationList, anchor: x509.Certificate) -> bool:
    """Whether a list names the key of its CA (RFC 5280, 5.2.1), by the identifier that the CA's certificate has."""
    try:
        said = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        known = anchor.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return False
    return said == known


def _serials(crl: x509.CertificateRevocationList) -> Iterator[int]:
    return (entry.serial_number for entry in crl)
