"""Validity dates of the files of [identity], and the sentences about them (pure).

One rule holds wherever dates are shown, in `check`, status, log and metrics: something is **ending** once less than a
fifth of its life or 30 days is left, whichever is less. So a certificate of a year is ending 30 days before its end,
one of 90 days 18 days before, and one of an hour 12 minutes before.

Dates never prevent a node from starting. A date may be reached, a clock may be corrected, new files may come with a
reload: for all three the node must run. Whether a certificate with wrong dates is accepted is decided by OpenSSL alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pcgrelay.config import IdentitySettings
from pcgrelay.identity.certificates import crl_signed_by, date_text, subject_of
from pcgrelay.identity.credentials import Credentials

ENDING_MOST = timedelta(days=30)
ENDING_SHARE = 5  # of the life
NEVER = datetime(9999, 12, 31, tzinfo=UTC)  # how RFC 5280, 4.1.2.5, writes "no end"


class Kind(StrEnum):
    """Kinds of dated things."""

    OWN = "own"  # this node's certificate, or that of a CA that is sent with it
    TRUST = "trust"
    CRL = "crl"
    CRL_FILE = "crl_file"  # a list of the file, in whose place one of a neighbour is in force until a restart


class Phase(StrEnum):
    """Phases of validity."""

    NOT_YET_VALID = "not_yet_valid"
    GOOD = "good"
    ENDING = "ending"
    EXPIRED = "expired"

    @property
    def is_wrong(self) -> bool:
        """Whether it is not valid now."""
        return self in (Phase.NOT_YET_VALID, Phase.EXPIRED)


@dataclass(frozen=True, slots=True)
class Span:
    """A period of validity; both ends are included."""

    start: datetime
    end: datetime

    def phase(self, now: datetime) -> Phase:
        """Return the phase at this moment."""
        if now < self.start:
            return Phase.NOT_YET_VALID
        if now > self.end:
            return Phase.EXPIRED
        return Phase.ENDING if self.end - now < min(ENDING_MOST, (self.end - self.start) / ENDING_SHARE) else Phase.GOOD


@dataclass(frozen=True, slots=True)
class Judged:
    """The result for one dated thing at one moment."""

    kind: Kind
    name: str
    span: Span
    phase: Phase
    is_leaf: bool = False


@dataclass(frozen=True, slots=True)
class Dated:
    """One thing with dates. Certificates with the same key (a renewed CA), and the lists of one CA, count as one."""

    kind: Kind
    name: str
    spans: tuple[Span, ...]
    is_leaf: bool = False

    def judged(self, now: datetime) -> Judged:
        """Judge by the valid span that ends last; if none is valid, by the one that ended last or begins first."""
        span = max(self.spans, key=lambda span: (span.start <= now <= span.end, span.start <= now, span.end))
        if now < span.start:
            span = min(self.spans, key=lambda span: span.start)
        return Judged(self.kind, self.name, span, span.phase(now), self.is_leaf)


def dated_of(credentials: Credentials) -> tuple[Dated, ...]:
    """Return all that has dates, the node's own first. A list that no CA here has signed is left out."""
    own = tuple(
        Dated(Kind.OWN, subject_of(certificate), (_span_of(certificate),), is_leaf=certificate is credentials.leaf)
        for certificate in credentials.chain
    )
    trust: dict[tuple[bytes, bytes], list[x509.Certificate]] = {}
    for certificate in credentials.trust:
        trust.setdefault((certificate.subject.public_bytes(), _key_of(certificate)), []).append(certificate)
    anchors = (
        Dated(Kind.TRUST, subject_of(same[0]), tuple(_span_of(certificate) for certificate in same))
        for same in trust.values()
    )
    issuers = [*credentials.trust, *credentials.chain[1:]]
    in_file = _lists(credentials.replaced, issuers, Kind.CRL_FILE)
    return (*own, *anchors, *_lists(credentials.crls, issuers, Kind.CRL), *in_file)


def judged_all(dated: Iterable[Dated], now: datetime) -> tuple[Judged, ...]:
    """Judge each thing at this moment."""
    return tuple(each.judged(now) for each in dated)


def moments(dated: Sequence[Dated], most: int) -> list[datetime]:
    """Return at most `most` moments, the latest first: one between every two neighbouring starts or ends of spans."""
    ends = sorted({end for each in dated for span in each.spans for end in (span.start, span.end)})
    middles = [before + (after - before) / 2 for before, after in itertools.pairwise(ends)]
    return middles[::-1][:most]


_PHRASES = {
    Kind.OWN: "The certificate",
    Kind.TRUST: "The trusted certificate",
    Kind.CRL: "The revocation list",
    Kind.CRL_FILE: "In the file, the revocation list",
}


def date_sentence(judged: Judged) -> str:
    """Describe the result in a sentence for a person."""
    start, end = date_text(judged.span.start), date_text(judged.span.end)
    words = {
        Phase.NOT_YET_VALID: f"is valid from {start} only",
        Phase.GOOD: "does not end" if judged.span.end == NEVER else f"is good until {end}",
        Phase.ENDING: f"ends on {end}",
        Phase.EXPIRED: f"expired on {end}",
    }
    return f"{_PHRASES[judged.kind]} of {judged.name or 'a CA without a name'} {words[judged.phase]}."


def date_mend(judged: Judged, files: IdentitySettings) -> str:
    """Say in a sentence what the operator should do about it."""
    if judged.phase is Phase.NOT_YET_VALID:
        return "Set the clock of this machine, or wait."
    late = judged.phase is Phase.EXPIRED
    if judged.kind is Kind.OWN:
        return f"Put a new one into {files.certificate}{'' if late else ' before that'}, and reload."
    if judged.kind is Kind.TRUST:
        return f"Put its successor into {files.trust}, take it out{'' if late else ' after that'}, and reload."
    if judged.kind is Kind.CRL_FILE:
        return f"One of a neighbour is in force until a restart; put the CA's newest list into {files.crl}."
    when = "" if late else " before that"
    return f"Put the CA's newest list into {files.crl}{when}, and reload; without one nobody is let in."


def _lists(
    crls: Iterable[x509.CertificateRevocationList], issuers: Iterable[x509.Certificate], kind: Kind
) -> list[Dated]:
    found: dict[tuple[bytes, bytes], tuple[str, list[Span]]] = {}
    known = list(issuers)
    for crl in crls:
        issuer = next((each for each in known if each.subject == crl.issuer and crl_signed_by(crl, each)), None)
        if issuer is not None:
            key = (issuer.subject.public_bytes(), _key_of(issuer))
            _, spans = found.setdefault(key, (subject_of(issuer), []))
            spans.append(Span(crl.last_update_utc, crl.next_update_utc or NEVER))
    return [Dated(kind, name, tuple(spans)) for name, spans in found.values()]


def _span_of(certificate: x509.Certificate) -> Span:
    return Span(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _key_of(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm):
        # A kind of key that is not known here equals no other: use the whole certificate.
        return certificate.public_bytes(Encoding.DER)
