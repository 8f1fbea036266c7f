"""The identity in a certificate, and the reason for which a certificate was refused.

The identity is the single SPIFFE URI of the leaf that signed the handshake. Nothing else counts: no common name, no DNS
name, no other certificate of the chain. OpenSSL checks chain, dates and revocation during the handshake, but reports
only that the check failed. `explain_failure` repeats the check outside the handshake to find the reason for the log. It
only explains a refusal that has happened; it never admits a peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID

from pcgrelay.errors import PcgrelayError
from pcgrelay.model import NameProblem, NodeId

CERTIFICATES_KEPT = 4_096
# What the library raises for bytes that it cannot read as a certificate; not all of these are ValueErrors.
UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
CHAIN_LIMIT = 8  # certificates from leaf to root; a bound is needed because a peer may send any number


class Refusal(StrEnum):
    """Reasons for which a certificate is refused; the words appear in logs and counters."""

    NO_CERTIFICATE = "no_certificate"
    MALFORMED = "malformed"
    NO_SPIFFE_SAN = "no_spiffe_san"
    TWO_SANS = "two_sans"
    WRONG_REALM = "wrong_realm"
    CA_AS_LEAF = "ca_as_leaf"
    WRONG_USAGE = "wrong_usage"
    UNKNOWN_ISSUER = "unknown_issuer"
    BAD_SIGNATURE = "bad_signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    REVOKED = "revoked"
    NO_CRL = "no_crl"
    CRL_NOT_CURRENT = "crl_not_current"
    BAD_CRL = "bad_crl"  # the list is not signed by the issuer, or is of a kind not known here
    WRONG_ISSUER = "wrong_issuer"  # the issuer may not sign such a certificate
    WRONG_NAME = "wrong_name"  # a CA above it may not give this name
    UNKNOWN_EXTENSION = "unknown_extension"  # a critical extension is not known
    WEAK = "weak"  # the key or the signature is too weak
    OTHER = "other"  # none of these: no fault was found in the certificates


class IdentityRefused(PcgrelayError):
    """A certificate does not have exactly one identity of this realm; reason says why."""

    def __init__(self, reason: Refusal, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a handshake failed: the reason for counters, a sentence for people."""

    reason: Refusal
    sentence: str


def _because(reason: Refusal, sentence: str) -> Explanation:
    return Explanation(reason, sentence[:1].upper() + sentence[1:])


# Cached because neighbours return, and sessions are renewed, with the same certificates. The results depend on the
# bytes and the realm alone. Whether a certificate is trusted, revoked or expired is not part of them: OpenSSL judges
# that in each handshake before these functions are called.
@lru_cache(maxsize=CERTIFICATES_KEPT)
def read_certificate(der: bytes) -> x509.Certificate:
    """Parse a DER certificate that a handshake has proved. Raises ValueError if it cannot be read."""
    try:
        return x509.load_der_x509_certificate(der)
    except UNREADABLE as error:
        raise ValueError(f"{error}") from None


@lru_cache(maxsize=CERTIFICATES_KEPT)
def read_identity(der: bytes, realm: str) -> NodeId:
    """Return the node that a leaf (DER), proved by a handshake, names. Raises IdentityRefused as `identity_of` does."""
    try:
        leaf = read_certificate(der)
    except ValueError as error:
        raise _unreadable(error) from None
    return identity_of(leaf, realm)


def _unreadable(error: Exception) -> IdentityRefused:
    return IdentityRefused(Refusal.MALFORMED, f"The certificate cannot be read ({error}); issue a new one.")


def identity_of(leaf: x509.Certificate, realm: str) -> NodeId:
    """Return the node that the leaf names.

    Raises IdentityRefused unless it has exactly one URI name, a SPIFFE identity of this realm, and is no CA.
    """
    try:
        extensions = leaf.extensions
        uris = _uris(extensions)
        is_ca = _is_ca(extensions)
    except UNREADABLE as error:
        raise _unreadable(error) from None
    if not uris or (len(uris) == 1 and not uris[0].startswith("spiffe://")):
        raise IdentityRefused(
            Refusal.NO_SPIFFE_SAN,
            "The certificate names no node; issue a new one with one spiffe:// URI as subject name.",
        )
    if len(uris) > 1:
        raise IdentityRefused(
            Refusal.TWO_SANS, f"The certificate has {len(uris)} URI names; issue a new one with exactly one."
        )
    try:
        node = NodeId.from_uri(uris[0])
    except NameProblem as problem:
        raise IdentityRefused(Refusal.MALFORMED, f"The certificate's name is refused: {problem}.") from None
    if node.realm != realm:
        raise IdentityRefused(
            Refusal.WRONG_REALM, f"The certificate belongs to realm {node.realm}, and this node to {realm}."
        )
    if is_ca:
        raise IdentityRefused(
            Refusal.CA_AS_LEAF, "The certificate is one that may sign others; issue one for the node alone."
        )
    return node


def explain_failure(
    leaf: x509.Certificate | None,
    chain: Sequence[x509.Certificate],
    trust: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> Explanation:
    """Find the reason for which leaf was refused. Raises nothing.

    chain: the other certificates that the peer sent. trust: the trust anchors. crls: if empty, revocation is not
    checked.
    """
    if leaf is None:
        return _because(Refusal.NO_CERTIFICATE, "The peer showed no certificate.")
    try:
        return _explained(leaf, chain, trust, crls, now)
    except UNREADABLE as error:
        return _because(Refusal.MALFORMED, f"A certificate of the peer cannot be read ({error}).")


def _explained(
    leaf: x509.Certificate,
    chain: Sequence[x509.Certificate],
    trust: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> Explanation:
    path = [leaf]
    while path[-1] not in trust:
        if len(path) == CHAIN_LIMIT:
            return _because(Refusal.UNKNOWN_ISSUER, f"The chain is longer than {CHAIN_LIMIT} certificates.")
        candidates = [issuer for issuer in (*trust, *chain) if issuer not in path and _names_issuer(path[-1], issuer)]
        issuer = next((issuer for issuer in candidates if issued_by(path[-1], issuer)), None)
        if issuer is None and candidates:
            return _because(Refusal.BAD_SIGNATURE, f"The signature of {_subject(path[-1])} is wrong.")
        if issuer is None:
            return _because(Refusal.UNKNOWN_ISSUER, f"{_subject(path[-1])} was issued by nobody trusted here.")
        path.append(issuer)
    for certificate in path:
        if dates := explain_dates(certificate, now):
            return dates
    if len(path) > 1 and crls and (revocation := explain_revocation(leaf, path[1], crls, now)):
        return revocation
    if not _may_do_tls(leaf):
        return _because(Refusal.WRONG_USAGE, f"{_subject(leaf)} may not be used for TLS.")
    return _because(Refusal.OTHER, "Nothing is wrong with the certificates.")


def explain_dates(certificate: x509.Certificate, now: datetime) -> Explanation | None:
    """Explain what is wrong with the dates of a certificate; None if nothing is."""
    if now < certificate.not_valid_before_utc:
        start = date_text(certificate.not_valid_before_utc)
        return _because(Refusal.NOT_YET_VALID, f"{_subject(certificate)} is valid from {start} only.")
    if now > certificate.not_valid_after_utc:
        return _because(
            Refusal.EXPIRED, f"{_subject(certificate)} expired on {date_text(certificate.not_valid_after_utc)}."
        )
    return None


def explain_revocation(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime,
) -> Explanation | None:
    """Explain why the revocation lists refuse a certificate; None if they do not.

    That its issuer has no usable list is a fault too.
    """
    mine = [crl for crl in crls if crl.issuer == issuer.subject and crl_signed_by(crl, issuer)]
    if not mine:
        return _because(Refusal.NO_CRL, f"There is no revocation list of {_subject(issuer)}.")
    newest = max(mine, key=lambda crl: crl.last_update_utc)
    if revoked := newest.get_revoked_certificate_by_serial_number(certificate.serial_number):
        return _because(
            Refusal.REVOKED, f"{_subject(certificate)} was revoked on {date_text(revoked.revocation_date_utc)}."
        )
    if now < newest.last_update_utc or (newest.next_update_utc is not None and now > newest.next_update_utc):
        return _because(Refusal.CRL_NOT_CURRENT, f"The revocation list of {_subject(issuer)} is out of date.")
    return None


def crl_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    """Whether the list is signed by that issuer."""
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except (TypeError, ValueError, UnsupportedAlgorithm):
        # A kind of key that cannot sign certificates.
        return False


@dataclass(frozen=True, slots=True)
class Shown:
    """The contents of a certificate that was refused, for the log. The peer has not proved that it is its own."""

    name: str
    serial: str
    not_after: datetime


def shown_of(chain: Sequence[bytes]) -> Shown | None:
    """Describe the leaf of a chain (DER, leaf first). None if the next one did not sign it: a name proves nothing."""
    try:
        leaf, *above = (x509.load_der_x509_certificate(der) for der in chain)
        if any(issued_by(leaf, issuer) for issuer in above[:1]):
            return Shown(subject_of(leaf), f"{leaf.serial_number:x}", leaf.not_valid_after_utc)
    except ValueError:
        pass
    return None


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the certificate names that issuer and is signed by it."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _names_issuer(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether a certificate may name that issuer. Key identifiers, if present, distinguish CAs of the same name."""
    if certificate.issuer != issuer.subject or not _is_ca(issuer.extensions):
        return False
    try:
        wanted = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return True
    return wanted is None or wanted == found


def _uris(extensions: x509.Extensions) -> list[str]:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def uri_names(leaf: x509.Certificate) -> tuple[list[str], bool]:
    """Return the URI names of a certificate, and whether it may sign others. Raises one of UNREADABLE."""
    return _uris(leaf.extensions), _is_ca(leaf.extensions)


def certificate_hosts(leaf: x509.Certificate) -> set[str]:
    """Return the names and numbers under which browsers may ask for the node; links know nothing of them."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set()
    numbers = names.get_values_for_type(x509.IPAddress)
    hosts = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    return hosts | {f"[{number}]" if number.version == 6 else str(number) for number in numbers}


def _is_ca(extensions: x509.Extensions) -> bool:
    try:
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _may_do_tls(leaf: x509.Certificate) -> bool:
    """Whether a leaf may be used as client and server; without the extension it may be used for everything."""
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.SERVER_AUTH in usage and ExtendedKeyUsageOID.CLIENT_AUTH in usage


def _subject(certificate: x509.Certificate) -> str:
    shown = subject_of(certificate)
    return f"the certificate of {shown}" if shown else "a certificate without a name"


def subject_of(certificate: x509.Certificate) -> str:
    """Return the dotted name of the certificate's node, else its subject. At most 120 characters, all printable."""
    try:
        uris = _uris(certificate.extensions)
        text = NodeId.from_uri(uris[0]).dotted if len(uris) == 1 else certificate.subject.rfc4514_string()
    except ValueError:
        text = certificate.subject.rfc4514_string()
    return "".join(character if character.isprintable() else "?" for character in text[:120])


def date_text(moment: datetime) -> str:
    """Format a date for a person, to the minute (a certificate may live for an hour only)."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
