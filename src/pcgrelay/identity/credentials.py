"""Reading of the files of [identity]: chain, private key, trust, revocation lists.

A fault in one file is refused here, with the file's name. Whether the files fit together and their dates are right is
for `check`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pcgrelay.config import IdentitySettings
from pcgrelay.errors import ConfigError, PermissionProblem
from pcgrelay.files import read_bounded, refuse_utf16
from pcgrelay.identity.certificates import UNREADABLE

T = TypeVar("T")

PEM_LIMIT_BYTES = 1 << 20
CREDENTIALS = "/run/credentials"  # of all system services, by systemd; only root makes folders there
CRL_LIMIT_BYTES = 16 << 20  # about 400,000 entries
_CRL_BLOCK = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ReceivedList:
    """A revocation list that a neighbour has brought (`lists`)."""

    crl: x509.CertificateRevocationList
    issuer: x509.Certificate  # the CA, of those trusted
    source: str  # the neighbour
    serials: frozenset[int]  # what it revokes


@dataclass(frozen=True, slots=True)
class Credentials:
    """The certificates and key that a node uses, and the trust and lists by which it judges its peers."""

    chain: tuple[x509.Certificate, ...]  # leaf first
    key: PrivateKeyTypes
    trust: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...]  # in force: of the file, or newer ones in their place
    received: tuple[ReceivedList, ...] = ()  # those that neighbours have brought; in `crls` too, if the file has any
    replaced: tuple[x509.CertificateRevocationList, ...] = ()  # of the file, by received ones

    def differ(self, other: Credentials) -> bool:
        """Whether the contents differ. The key is not compared: it belongs to its certificate."""
        return self._judged_by != other._judged_by

    @property
    def _judged_by(self) -> tuple[object, ...]:
        return (self.chain, self.trust, self.crls, tuple(each.crl for each in self.received))

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]


def load_credentials(settings: IdentitySettings) -> Credentials:
    """Read all files of [identity].

    Raises ConfigError for the first file that is missing, unreadable or of the wrong kind, PermissionProblem for a key
    that others may read.
    """
    return Credentials(
        chain=load_certificates(settings.certificate, "certificate"),
        key=load_key(settings.key),
        trust=load_certificates(settings.trust, "trusted certificate"),
        crls=load_crls(settings.crl) if settings.crl else (),
    )


def load_certificates(path: Path, what: str) -> tuple[x509.Certificate, ...]:
    """Read the PEM certificates of a file, in their order. Raises ConfigError if there is none."""
    data = read_bounded(path, what, PEM_LIMIT_BYTES)
    return tuple(_parsed(path, what, "PEM certificate", lambda: x509.load_pem_x509_certificates(data), data))


def load_key(path: Path, passphrase: Callable[[], bytes] | None = None) -> PrivateKeyTypes:
    """Read a private key in PEM. passphrase: called if the key is under one.

    Raises PermissionProblem if others may read it, ConfigError if it is not a key, or under a passphrase that is not
    given or is another one.
    """
    data = read_bounded(path, "private key", PEM_LIMIT_BYTES, lambda status: refuse_open_secret(path, status))

    def parse() -> PrivateKeyTypes:
        try:
            return load_pem_private_key(data, None)
        except TypeError:
            # Only the library can tell: the word ENCRYPTED may also occur in a comment or a name.
            if passphrase is None:
                words = "the private key is under a password; store it without one, readable by its owner"
                raise ConfigError(f"{path}: {words}.") from None
        word = passphrase()
        try:
            return load_pem_private_key(data, word)
        except ValueError:
            raise ConfigError(f"{path}: this is not the passphrase of the key, or the key is damaged.") from None

    return _parsed(path, "private key", "private key in PEM form", parse, data)


def load_crls(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """Read the revocation lists of a file: one in DER, or several in PEM. Raises ConfigError if there is none."""
    data = read_bounded(path, "revocation list", CRL_LIMIT_BYTES)
    blocks = _CRL_BLOCK.findall(data)
    loads = [partial(x509.load_pem_x509_crl, block) for block in blocks] or [partial(x509.load_der_x509_crl, data)]
    return tuple(
        _parsed(path, "revocation list", "revocation list", partial(_with_dates, load), data) for load in loads
    )


def _with_dates(load: Callable[[], x509.CertificateRevocationList]) -> x509.CertificateRevocationList:
    """Load a list. One of UNREADABLE is raised also for dates that no calendar has, which are read late."""
    crl = load()
    crl.last_update_utc, crl.next_update_utc  # noqa: B018 - evaluated here
    return crl


def key_matches(key: PrivateKeyTypes, certificate: x509.Certificate) -> bool:
    """Whether the private key belongs to the certificate."""
    try:
        mine, theirs = (
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            for public in (key.public_key(), certificate.public_key())
        )
    except (ValueError, UnsupportedAlgorithm):
        return False
    return mine == theirs


def may_be_read_by_group(owner: int, group: int, user: int, *, is_credential: bool) -> bool:
    """Whether a private key may be readable by its group (pure).

    owner, group, user: ids of the file's owner and group, and of this process's user. As with libpq, root may give a
    key that it owns to a group: a package does, Kubernetes (fsGroup), and systemd (LoadCredential=), which puts it into
    a folder that no other user may enter. This holds whoever asks, so that `check` and `upgrade` by root say of the key
    of a node that is not root what the node says. A file that this user owns needs no group; nor does root's own, which
    nobody has given away.
    """
    return is_credential or (owner == 0 and (group != 0 or user != 0))


def refuse_open_secret(path: Path, status: os.stat_result, what: str = "private key") -> None:
    """Raise PermissionProblem if others may read an opened file that must be secret."""
    mode, owner, user = stat.S_IMODE(status.st_mode), status.st_uid, os.geteuid()
    by_group = may_be_read_by_group(owner, status.st_gid, user, is_credential=_is_credential(path))
    if mode & (0o037 if by_group else 0o077):
        who, most = ("root and its group", "640") if by_group else ("its owner", "600")
        mend = f"run: chmod {most} {path}"
        if owner == user == 0 and not by_group:
            # Else a node of another user could not read it any more.
            mend = f"{mend}, or, where the node is not root: chgrp GROUP {path} && chmod 640 {path}"
        raise PermissionProblem(f"{path}: others than {who} may use the {what} (mode {mode:04o}); {mend}")


def _is_credential(path: Path) -> bool:
    """Whether a service manager provided the file for one service alone (systemd.exec(5)).

    The service knows the folder by CREDENTIALS_DIRECTORY; whoever else reads its configuration, by the path.
    """
    folders = [CREDENTIALS, *filter(None, [os.environ.get("CREDENTIALS_DIRECTORY")])]
    return any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def _parsed(path: Path, what: str, form: str, parse: Callable[[], T], data: bytes) -> T:
    try:
        return parse()
    except UNREADABLE:
        refuse_utf16(path, what, data)
        # The library's messages are about ASN.1 and do not help the operator.
        raise ConfigError(f"{path}: the {what} holds no usable {form}; name the right file.") from None
