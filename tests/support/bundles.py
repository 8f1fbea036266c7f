"""Realm bundles for tests, as the realm's signer makes them, and wrong in ways that the product refuses to make."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pcgrelay.config.settings import RealmTerms
from pcgrelay.identity.credentials import Credentials, load_certificates, load_crls, load_key
from pcgrelay.identity.dates import Span
from pcgrelay.realm.bundle import make_bundle
from tests.support.pki import RealmPki


class Signer:
    """Whoever signs the bundles of a realm."""

    def __init__(self, pki: RealmPki, *, wrong_ca: bool = False, folder: str = "signer", days: int = 90) -> None:
        """wrong_ca: its certificate is of a CA that nobody trusts."""
        self.pki = pki
        self.folder = pki.folder / folder
        authority = pki.other_authority() if wrong_ca else pki.authority
        self.entry = authority.issue_signer(self.folder, days=days)
        self.chain: Sequence[x509.Certificate] = load_certificates(self.folder / "realm-bundle.pem", "certificate")
        self.key: PrivateKeyTypes = load_key(self.folder / "realm-bundle.key")

    def bundle(
        self,
        epoch: int,
        *,
        members: tuple[str, ...] | None = None,
        relays: tuple[str, ...] | None = None,
        terms: RealmTerms | None = None,
        lists: Iterable[bytes] = (),
        minimum: str = "",
        realm: str | None = None,
        span: Span | None = None,
    ) -> bytes:
        """Sign a bundle."""
        return make_bundle(
            realm or self.pki.name,
            epoch,
            span or span_of(),
            terms or RealmTerms(members=members, relays=relays),
            lists=lists,
            minimum=minimum,
            key=self.key,
            chain=self.chain,
        )


def span_of(before: timedelta = timedelta(minutes=5), after: timedelta = timedelta(days=30)) -> Span:
    """Return a time from so long ago to so long ahead."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Span(now - before, now + after)


def credentials_of(pki: RealmPki, *, lists: bool = False) -> Credentials:
    """Return what a node of the realm judges by. lists: it has the CA's revocation list in a file."""
    files = pki.issue("judge.example", "judge", into=f"judge-{len(list(Path(pki.folder).iterdir()))}")
    return Credentials(
        chain=load_certificates(files.certificate, "certificate"),
        key=load_key(files.key),
        trust=load_certificates(files.trust, "trust"),
        crls=load_crls(files.crl) if lists else (),
    )
