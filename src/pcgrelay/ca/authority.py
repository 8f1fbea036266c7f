"""The CA in a folder: its certificate and key, an index of issued certificates, and the current revocation list.

A serial number is in the index before its certificate exists, so that everything ever issued can be revoked. The key
may be under a passphrase, which is asked for when something is signed and kept by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pcgrelay.ca.certificates import SKEW, make_key, sign_ca, sign_leaf, sign_list, sign_signer
from pcgrelay.ca.hosts import host_names
from pcgrelay.ca.index import Index, Issued, locked_index, read_index, write_new_index
from pcgrelay.ca.passphrase import protected_pem, refuse_weak
from pcgrelay.ca.request import Request, key_pem, refuse_key_of_ca
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.errors import ConfigError, RunError, UsageProblem
from pcgrelay.files import PRIVATE_MODE, make_folder, read_bounded, refuse_present, write_new, write_replacing
from pcgrelay.identity.certificates import crl_signed_by
from pcgrelay.identity.credentials import CRL_LIMIT_BYTES, key_matches, load_certificates, load_crls, load_key
from pcgrelay.identity.dates import NEVER, Phase, Span
from pcgrelay.model import NameProblem, NodeId, check_dotted
from pcgrelay.realm.bundle import signer_uri

T = TypeVar("T")
Passphrase = Callable[[], bytes]

CA_STEM = "realm-ca"
SIGNER = "realm/bundle"  # the signer of bundles, in the place of a node's name in the index
SIGNER_STEM = "realm-bundle"
CA_DAYS = 3650
LEAF_DAYS = 90
# An expired list stops the whole realm, so it lasts as long as the leaves; issuing and revoking renew it.
CRL_DAYS = 90
DAYS_MOST = 36_500
NUMBER_MOST = 1 << 63


class Authority:
    """The CA in one folder. Each change is completely on disk before the call returns."""

    def __init__(self, folder: Path, clock: Clock = SYSTEM_CLOCK, passphrase: Passphrase | None = None) -> None:
        """Open the CA in a folder. passphrase: called once, when something is signed by a key that is under one.

        RunError: there is no CA. ConfigError: its files cannot be used.
        """
        if not (folder / "index.json").exists():
            raise RunError(
                f"{folder}: there is no CA in this folder; make one with: pcgrelay ca init {folder} --realm REALM"
            )
        self.folder = folder
        self._clock = clock
        self._passphrase = passphrase
        self._word: bytes | None = None
        self.certificate = load_certificates(self.certificate_path, "CA certificate")[0]
        self.realm = read_index(self.index_path).realm

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
    def create(
        cls,
        folder: Path,
        realm: str,
        *,
        days: int = CA_DAYS,
        clock: Clock = SYSTEM_CLOCK,
        passphrase: bytes | None = None,
    ) -> Self:
        """Make a CA for a realm, with its key under a passphrase if one is given.

        RunError: the folder has a CA already. UsageProblem: realm, days or passphrase is invalid.
        """
        _checked_name(lambda: check_dotted(realm, "realm"), "--realm")
        _refuse_days(days)
        if passphrase is not None:
            refuse_weak(passphrase)
        make_folder(folder, 0o700)
        for name in ("index.json", "realm-ca.pem", "realm-ca.key", "realm.crl"):
            refuse_present(folder / name)
        key = make_key()
        now = clock.wall().replace(microsecond=0)
        certificate = sign_ca(key, realm, now - SKEW, now + timedelta(days=days))
        pem = key_pem(key) if passphrase is None else protected_pem(key, passphrase)
        write_new(folder / "realm-ca.key", pem, PRIVATE_MODE)
        write_new(folder / "realm-ca.pem", certificate.public_bytes(Encoding.PEM))
        write_new_index(folder / "index.json", realm)
        authority = cls(folder, clock, (lambda: passphrase) if passphrase is not None else None)
        authority.renew_crl()
        return authority

    def issue(
        self,
        organisation: str,
        node: str,
        out: Path,
        *,
        days: int = LEAF_DAYS,
        hosts: Sequence[str] = (),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> Issued:
        """Write out/NODE.pem, out/NODE.key and out/realm-ca.pem; return the index entry.

        The dates are for tests; without them the certificate is valid from now for that many days, or as long as the
        CA. hosts: as for `host_names`. RunError: a file exists already, or out has the certificate of another CA.
        UsageProblem: a name, a host or days is invalid.
        """
        identity = _checked_name(lambda: NodeId(self.realm, organisation, node), "--organisation or --node")
        key, key_path = make_key(), out / f"{node}.key"
        for path in (out / f"{node}.pem", key_path):
            refuse_present(path)
        request = Request(identity, key.public_key())
        dates = not_before, not_after
        return self._certify(request, out, days, hosts, dates, lambda: _write_key(key_path, key_pem(key)))

    def sign(self, request: Request, out: Path, *, days: int = LEAF_DAYS, hosts: Sequence[str] = ()) -> Issued:
        """Write out/NODE.pem, out/realm-ca.pem and out/realm.crl for a request that was read; return the index entry.

        These three are all that the node gets. RunError: a certificate exists already, out has the certificate or list
        of another CA, or the key is the CA's. UsageProblem: a host or days is invalid.
        """
        refuse_key_of_ca(request, self.certificate)
        copy = out / self.crl_path.name
        if copy.exists() and not all(crl_signed_by(crl, self.certificate) for crl in load_crls(copy)):
            raise RunError(f"{copy}: this is the revocation list of another CA; choose another folder.")
        entry = self._certify(request, out, days, hosts, (None, None), lambda: None)
        write_replacing(copy, read_bounded(self.crl_path, "revocation list", CRL_LIMIT_BYTES))
        return entry

    def certify(self, request: Request, *, days: int = LEAF_DAYS, hosts: Sequence[str] = ()) -> bytes:
        """Return a certificate for a request as PEM; it is in the index. Raises as `sign`."""
        refuse_key_of_ca(request, self.certificate)
        return self._entered(request, days, hosts, (None, None))[1]

    def _certify(
        self,
        request: Request,
        out: Path,
        days: int,
        hosts: Sequence[str],
        dates: tuple[datetime | None, datetime | None],
        write_key: Callable[[], Path | None],
    ) -> Issued:
        """Write the certificate of a request, after its key if that is made here."""
        node = request.node.name
        if node == CA_STEM:
            raise UsageProblem(
                f"--node: the files of a node named {CA_STEM} would be mixed up with the CA's; choose another."
            )
        _refuse_days(days)
        certificate_path, trust_path = out / f"{node}.pem", out / "realm-ca.pem"
        refuse_present(certificate_path)
        trust = self.certificate.public_bytes(Encoding.PEM)
        if trust_path.exists() and read_bounded(trust_path, "CA certificate", 1 << 20) != trust:
            raise RunError(f"{trust_path}: this is the certificate of another CA; choose another folder.")
        entry, pem = self._entered(request, days, hosts, dates)
        make_folder(out, 0o755)
        key_path = write_key()
        try:
            write_new(certificate_path, pem)
        except BaseException:
            if key_path is not None:
                key_path.unlink()
            raise
        # Replacing is safe: the file can only be the same certificate, written by another issue at the same time.
        write_replacing(trust_path, trust)
        return entry

    def _entered(
        self, request: Request, days: int, hosts: Sequence[str], dates: tuple[datetime | None, datetime | None]
    ) -> tuple[Issued, bytes]:
        """Sign a request and enter it; return the entry and the certificate as PEM, which is written afterwards."""
        _refuse_days(days)
        names = host_names(hosts)
        now = self._clock.wall().replace(microsecond=0)
        leaf = sign_leaf(
            self._signing_key(),
            self.certificate.subject,
            request.public_key,
            request.node,
            dates[0] or now - SKEW,
            min(dates[1] or now + timedelta(days=days), self.certificate.not_valid_after_utc),
            names,
        )
        return self._enter(leaf, request.node.organisation, request.node.name)

    def issue_signer(self, out: Path, *, days: int = LEAF_DAYS) -> Issued:
        """Write out/realm-bundle.pem and .key, by which bundles of the realm are signed; return the index entry.

        RunError: a file exists already. UsageProblem: days is invalid.
        """
        _refuse_days(days)
        key_path, certificate_path = out / f"{SIGNER_STEM}.key", out / f"{SIGNER_STEM}.pem"
        for path in (key_path, certificate_path):
            refuse_present(path)
        key, now = make_key(), self._clock.wall().replace(microsecond=0)
        end = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        uri, issuer = signer_uri(self.realm), self.certificate.subject
        leaf = sign_signer(self._signing_key(), issuer, key.public_key(), uri, now - SKEW, end)
        entry, pem = self._enter(leaf, "", SIGNER)
        make_folder(out, 0o700)
        write_new(key_path, key_pem(key), PRIVATE_MODE)
        write_new(certificate_path, pem)
        return entry

    def _enter(self, leaf: x509.Certificate, organisation: str, node: str) -> tuple[Issued, bytes]:
        """Enter a certificate that was signed and is written afterwards; return the entry, and it as PEM."""
        entry = Issued(
            serial=f"{leaf.serial_number:x}",
            organisation=organisation,
            node=node,
            not_before=leaf.not_valid_before_utc,
            not_after=leaf.not_valid_after_utc,
        )
        with locked_index(self.index_path) as index:
            index.issued.append(entry)
            if self._list_ends_before(entry.not_after):
                # Issuing renews the list in time, so that it does not expire while the CA is in use.
                self._renew_with(index)
        return entry, leaf.public_bytes(Encoding.PEM)

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
        with locked_index(self.index_path) as index:
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

    def renew_crl(self, *, days: int = CRL_DAYS, above: int = 0) -> datetime:
        """Write a new revocation list with the same entries; return its end.

        above: its number is greater than this; for a CA that was restored from a copy, behind whose back newer lists
        are in force. UsageProblem: days or above is out of bounds.
        """
        _refuse_days(days)
        if not 0 <= above < NUMBER_MOST:
            raise UsageProblem(f"--above: {above} is out of bounds; give the number of the list that nodes have.")
        with locked_index(self.index_path) as index:
            index.crl_number = max(index.crl_number, above)
            return self._write_crl(index, days)

    def issued(self) -> list[Issued]:
        """Return all issued certificates, in order."""
        return read_index(self.index_path).issued

    def _signing_key(self) -> ec.EllipticCurvePrivateKey:
        key = load_key(self.key_path, self._passphrase and self._asked)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not key_matches(key, self.certificate):
            raise ConfigError(
                f"{self.key_path}: this key does not belong to {self.certificate_path}; restore the pair."
            )
        return key

    def _asked(self) -> bytes:
        """Return the passphrase; it is asked for once in the life of this object."""
        assert self._passphrase is not None
        if self._word is None:
            self._word = self._passphrase()
        return self._word

    def _write_crl(self, index: Index, days: int) -> datetime:
        key = self._signing_key()
        now = self._clock.wall().replace(microsecond=0)
        start, end = now - SKEW, now + timedelta(days=days)
        if self.crl_path.exists():
            # OpenSSL uses the list with the latest start, so two lists of one second must differ. None may start in the
            # future either, however many were made within the skew: then everybody would be refused.
            start = min(now, max(start, load_crls(self.crl_path)[0].last_update_utc + timedelta(seconds=1)))
        index.crl_number += 1
        made = sign_list(key, self.certificate.subject, index, start, end)
        write_replacing(self.crl_path, made.public_bytes(Encoding.PEM))
        return end


def _checked_name(make: Callable[[], T], options: str) -> T:
    try:
        return make()
    except NameProblem as problem:
        raise UsageProblem(f"{options}: {problem}.") from None


def _refuse_days(days: int) -> None:
    if not 1 <= days <= DAYS_MOST:
        raise UsageProblem(f"--days: {days} is out of bounds; give 1 to {DAYS_MOST}.")


def _write_key(path: Path, pem: bytes) -> Path:
    write_new(path, pem, PRIVATE_MODE)
    return path
