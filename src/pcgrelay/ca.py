"""A small certificate authority for one realm: for demonstrations, small realms and the tests.

It is a folder: the CA's certificate and key, an index of issued certificates, and the current revocation list. A serial
number is in the index before its certificate exists, so that everything ever issued can be revoked. All keys are P-256:
a CA on P-384 would double the price of every handshake. Larger realms use a CA of their own; pcgrelay only needs the
SPIFFE name in the leaf.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.errors import ConfigError, RunError, UsageProblem
from pcgrelay.files import PRIVATE_MODE, make_folder, read_bounded, unreadable, write_new, write_replacing
from pcgrelay.identity.credentials import key_matches, load_certificates, load_crls, load_key
from pcgrelay.identity.dates import NEVER, Phase, Span
from pcgrelay.model import NameProblem, NodeId, check_dotted

T = TypeVar("T")

CA_STEM = "realm-ca"
CA_DAYS = 3650
LEAF_DAYS = 365
# An expired list stops the whole realm, so it lasts as long as the leaves; issuing and revoking renew it.
CRL_DAYS = 365
DAYS_MOST = 36_500
SKEW = timedelta(minutes=5)  # clocks of other machines may be behind this one's
INDEX_LIMIT_BYTES = 64 << 20


class Issued(msgspec.Struct, kw_only=True):
    """One certificate that this CA has signed."""

    serial: str  # hexadecimal
    organisation: str
    node: str
    not_before: datetime
    not_after: datetime
    revoked: datetime | None = None


class Index(msgspec.Struct, kw_only=True):
    """The contents of index.json."""

    version: int = 1
    realm: str
    crl_number: int = 0
    issued: list[Issued] = []


class Authority:
    """The CA in one folder. Each change is completely on disk before the call returns."""

    def __init__(self, folder: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        """Open the CA in a folder. RunError: there is none. ConfigError: its files cannot be used."""
        if not (folder / "index.json").exists():
            raise RunError(
                f"{folder}: there is no CA in this folder; make one with: pcgrelay ca init {folder} --realm REALM"
            )
        self.folder = folder
        self._clock = clock
        self.certificate = load_certificates(self.certificate_path, "CA certificate")[0]
        self.realm = self._read_index().realm

    @property
    def certificate_path(self) -> Path:
        return self.folder / "realm-ca.pem"

    @property
    def key_path(self) -> Path:
        return self.folder / "realm-ca.key"

    @property
    def crl_path(self) -> Path:
        return self.folder / "realm.crl"

    @property
    def index_path(self) -> Path:
        return self.folder / "index.json"

    @classmethod
    def create(cls, folder: Path, realm: str, *, days: int = CA_DAYS, clock: Clock = SYSTEM_CLOCK) -> Self:
        """Make a CA for a realm. RunError: the folder has one already. UsageProblem: realm or days is invalid."""
        _checked_name(lambda: check_dotted(realm, "realm"), "--realm")
        _refuse_days(days)
        make_folder(folder, 0o700)
        for name in ("index.json", "realm-ca.pem", "realm-ca.key", "realm.crl"):
            _refuse_present(folder / name)
        key = ec.generate_private_key(ec.SECP256R1())
        now = clock.wall().replace(microsecond=0)
        certificate = _ca_certificate(key, realm, now - SKEW, now + timedelta(days=days))
        write_new(folder / "realm-ca.key", _key_pem(key), PRIVATE_MODE)
        write_new(folder / "realm-ca.pem", certificate.public_bytes(Encoding.PEM))
        write_new(folder / "index.json", _index_json(Index(realm=realm)))
        authority = cls(folder, clock)
        authority.renew_crl()
        return authority

    def issue(
        self,
        organisation: str,
        node: str,
        out: Path,
        *,
        days: int = LEAF_DAYS,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Issued:
        """Write out/NODE.pem, out/NODE.key and out/realm-ca.pem; return the index entry.

        The dates are for tests; without them the certificate is valid from now for that many days, or as long as the
        CA. RunError: a file exists already, or out has the certificate of another CA. UsageProblem: a name or days is
        invalid.
        """
        identity = _checked_name(lambda: NodeId(self.realm, organisation, node), "--organisation or --node")
        if node == CA_STEM:
            raise UsageProblem(
                f"--node: the files of a node named {CA_STEM} would be mixed up with the CA's; choose another."
            )
        _refuse_days(days)
        certificate_path, key_path, trust_path = out / f"{node}.pem", out / f"{node}.key", out / "realm-ca.pem"
        _refuse_present(certificate_path)
        _refuse_present(key_path)
        trust = self.certificate.public_bytes(Encoding.PEM)
        if trust_path.exists() and read_bounded(trust_path, "CA certificate", 1 << 20) != trust:
            raise RunError(f"{trust_path}: this is the certificate of another CA; choose another folder.")

        now = self._clock.wall().replace(microsecond=0)
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._sign_leaf(
            key.public_key(),
            identity,
            not_before or now - SKEW,
            min(not_after or now + timedelta(days=days), self.certificate.not_valid_after_utc),
        )
        entry = Issued(
            serial=f"{leaf.serial_number:x}",
            organisation=organisation,
            node=node,
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )
        with self._locked_index() as index:
            index.issued.append(entry)
            if self._list_ends_before(entry.not_after):
                # Issuing renews the list in time, so that it does not expire while the CA is in use.
                self._renew_with(index)
        make_folder(out, 0o755)
        write_new(key_path, _key_pem(key), PRIVATE_MODE)
        try:
            write_new(certificate_path, leaf.public_bytes(Encoding.PEM))
        except BaseException:
            key_path.unlink()
            raise
        # Replacing is safe: the file can only be the same certificate, written by another issue at the same time.
        write_replacing(trust_path, trust)
        return entry

    def _sign_leaf(
        self, public_key: ec.EllipticCurvePublicKey, node: NodeId, not_before: datetime, not_after: datetime
    ) -> x509.Certificate:
        key = self._signing_key()
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))  # the URI alone is the identity; RFC 5280, 4.1.2.6: it is critical then
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(node.uri)]), critical=True)
            .sign(key, hashes.SHA256())
        )

    def revoke(
        self, organisation: str, node: str, *, serials: Sequence[str] = (), all_but_newest: bool = False
    ) -> list[Issued]:
        """Revoke certificates of a node and renew the list; return those that were not revoked before.

        By default all of them; with serials those; with all_but_newest all but the one issued last. RunError: the node
        has no such certificate. UsageProblem: both are given, or a serial is not hexadecimal.
        """
        if serials and all_but_newest:
            raise UsageProblem("--serial, --all-but-newest: these two exclude each other; give one.")
        now = self._clock.wall().replace(microsecond=0)
        with self._locked_index() as index:
            mine = [entry for entry in index.issued if (entry.organisation, entry.node) == (organisation, node)]
            if not mine:
                raise RunError(
                    f"{self.index_path}: nothing was ever issued to node {node} of {organisation}; "
                    f"see what was with: pcgrelay ca show {self.folder}"
                )
            named = self._named(mine, serials) if serials else mine[:-1] if all_but_newest else mine
            fresh = [entry for entry in named if entry.revoked is None]
            for entry in fresh:
                entry.revoked = now
            self._renew_with(index)
        return fresh

    def _named(self, mine: Sequence[Issued], serials: Sequence[str]) -> list[Issued]:
        """Return the certificates with these serial numbers; each must belong to the node."""
        known = {int(entry.serial, 16): entry for entry in mine}
        found = []
        for serial in serials:
            try:
                number = int(serial.replace(":", ""), 16)
            except ValueError:
                raise UsageProblem(f"--serial: {serial!r} is no hexadecimal number; see pcgrelay ca show.") from None
            if number not in known:
                raise RunError(
                    f"{self.index_path}: {mine[0].node} of {mine[0].organisation} has no certificate with serial "
                    f"{serial}; see those it has with: pcgrelay ca show {self.folder}"
                )
            found.append(known[number])
        return found

    def _list_ends_before(self, end: datetime) -> bool:
        """Return whether the present list is about to expire, or ends more than a day before a certificate does."""
        if not self.crl_path.exists():
            return True
        present = load_crls(self.crl_path)[0]
        until = present.next_update_utc or NEVER
        return until < end - timedelta(days=1) or (
            Span(present.last_update_utc, until).phase(self._clock.wall()) is not Phase.GOOD
        )

    def _renew_with(self, index: Index) -> None:
        """Write a new list after a change; it never ends before the one that it replaces."""
        days = CRL_DAYS
        if self.crl_path.exists():
            end = load_crls(self.crl_path)[0].next_update_utc
            days = max(days, (end - self._clock.wall()).days + 1 if end else days)
        self._write_crl(index, min(days, DAYS_MOST))

    def crl_end(self) -> datetime | None:
        """Return the end of the present list, or None if there is none."""
        return load_crls(self.crl_path)[0].next_update_utc if self.crl_path.exists() else None

    def renew_crl(self, *, days: int = CRL_DAYS) -> datetime:
        """Write a new revocation list with the same entries; return its end."""
        _refuse_days(days)
        with self._locked_index() as index:
            return self._write_crl(index, days)

    def issued(self) -> list[Issued]:
        """Return all issued certificates, in order."""
        return self._read_index().issued

    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        key = load_key(self.key_path)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not key_matches(key, self.certificate):
            raise ConfigError(
                f"{self.key_path}: this key does not belong to {self.certificate_path}; restore the pair."
            )
        return key

    def _read_index(self) -> Index:
        data = read_bounded(self.index_path, "CA's index", INDEX_LIMIT_BYTES)
        try:
            index = msgspec.json.decode(data, type=Index)
        except msgspec.DecodeError as error:
            raise ConfigError(
                f"{self.index_path}: the CA's index is damaged ({error}); restore it from a copy."
            ) from None
        if index.version != 1:
            raise ConfigError(f"{self.index_path}: a newer pcgrelay wrote this index; use that version.")
        return index

    @contextmanager
    def _locked_index(self) -> Iterator[Index]:
        """Lock the index against other processes, and write it back at the end; after an error it is unchanged."""
        try:
            folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise unreadable(self.folder, "CA's folder", error) from None
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            index = self._read_index()
            yield index
            write_replacing(self.index_path, _index_json(index))
        finally:
            os.close(folder)

    def _write_crl(self, index: Index, days: int) -> datetime:
        key = self._signing_key()
        now = self._clock.wall().replace(microsecond=0)
        start, end = now - SKEW, now + timedelta(days=days)
        if self.crl_path.exists():
            # OpenSSL uses the list with the latest start, so two lists of one second must differ. None may start in the
            # future either, however many were made within the skew: then everybody would be refused.
            start = min(now, max(start, load_crls(self.crl_path)[0].last_update_utc + timedelta(seconds=1)))
        index.crl_number += 1
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(start)
            .next_update(end)
            .add_extension(x509.CRLNumber(index.crl_number), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()),
                critical=False,
            )
        )
        for entry in index.issued:
            if entry.revoked is not None:
                builder = builder.add_revoked_certificate(
                    x509.RevokedCertificateBuilder()
                    .serial_number(int(entry.serial, 16))
                    .revocation_date(entry.revoked)
                    .build()
                )
        write_replacing(self.crl_path, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return end


def _ca_certificate(
    key: ec.EllipticCurvePrivateKey, realm: str, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    # A common name holds 64 characters (RFC 5280, ub-common-name); a realm may be longer, and the URI has all of it.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{realm} realm CA"[:64])])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"spiffe://{realm}")]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _checked_name(make: Callable[[], T], options: str) -> T:
    try:
        return make()
    except NameProblem as problem:
        raise UsageProblem(f"{options}: {problem}.") from None


def _refuse_days(days: int) -> None:
    if not 1 <= days <= DAYS_MOST:
        raise UsageProblem(f"--days: {days} is out of bounds; give 1 to {DAYS_MOST}.")


def _refuse_present(path: Path) -> None:
    if os.path.lexists(path):
        raise RunError(f"{path}: this file is there already and is never overwritten; move it away first.")


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _index_json(index: Index) -> bytes:
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"
