"""A node's new key and certificate, put in place of the old ones.

    begin    NAME.new.key and NAME.new.csr beside the key          a CA signs; the node runs on with the old pair
    finish   the certificate is judged with the new key, then
             NAME.old.* are kept, and two renames put the new pair in place; a reload takes it

Nothing that is in use changes before everything was judged, and each rename is atomic. A power cut between the two
renames leaves the new key beside the old certificate; `finish` with the same certificate sets that right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

from pcgrelay.ca.request import Request, write_request
from pcgrelay.config import IdentitySettings
from pcgrelay.errors import ConfigError, RunError
from pcgrelay.files import keep_old, own_like, put_in_place, write_replacing
from pcgrelay.identity.credentials import Credentials, key_matches, load_certificates, load_crls, load_key
from pcgrelay.model import NodeId

# Returns why a node could not use these files, in a sentence; empty: it could.
Judge = Callable[[Credentials], str]


@dataclass(frozen=True, slots=True)
class Renewal:
    """The files of one renewal. identity: [identity] of the node's configuration."""

    identity: IdentitySettings
    node: NodeId

    @property
    def key(self) -> Path:
        """The new key, while it waits for its certificate."""
        return _beside(self.identity.key, "new")

    @property
    def request(self) -> Path:
        """The request for the new key."""
        return self.key.with_suffix(".csr")

    def begin(self) -> Request:
        """Make the new key and the request. RunError: a renewal has begun already, or another tool keeps the files."""
        self._refuse_unkept()
        if self.key.exists():
            raise RunError(
                f"{self.key}: a renewal has begun; finish it with --certificate, or remove this file and begin again."
            )
        self.request.unlink(missing_ok=True)  # of one that was given up
        return write_request(self.node, self.key, self.request)

    def give_up(self) -> None:
        """Remove what `begin` has made, for which there will be no certificate."""
        for path in (self.key, self.request):
            path.unlink(missing_ok=True)

    def finish(self, certificate: Path, judge: Judge) -> x509.Certificate:
        """Put the new key and this certificate in place; return its leaf.

        ConfigError: the certificate is not for the new key, or the node could not use it; then nothing has changed.
        RunError: no renewal has begun, or another tool keeps the files.
        """
        self._refuse_unkept()
        chain = load_certificates(certificate, "new certificate")
        key, is_in_place = self._key_for(certificate, chain[0])
        if sentence := judge(self._credentials(chain, key)):
            raise ConfigError(f"{certificate}: {sentence}")
        mine, draft = self.identity.certificate, _beside(self.identity.certificate, "new")
        write_replacing(draft, b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        own_like(draft, mine)
        keep_old(mine, _beside(mine, "old"))
        if not is_in_place:
            own_like(self.key, self.identity.key)
            keep_old(self.identity.key, _beside(self.identity.key, "old"))
            put_in_place(self.identity.key, self.key)
        put_in_place(mine, draft)
        self.request.unlink(missing_ok=True)
        return chain[0]

    def _key_for(self, certificate: Path, leaf: x509.Certificate) -> tuple[PrivateKeyTypes, bool]:
        """Return the key that belongs to a new certificate, and whether it is in its place already."""
        if self.key.exists():
            key = load_key(self.key)
            if key_matches(key, leaf):
                return key, False
            raise ConfigError(
                f"{certificate}: this certificate is not for {self.key}; sign {self.request} and name that."
            )
        key = load_key(self.identity.key)
        if key_matches(key, leaf):
            return key, True
        raise RunError(f"{self.key}: no renewal has begun here; begin one with: pcgrelay ca renew -c FILE")

    def _credentials(self, chain: tuple[x509.Certificate, ...], key: PrivateKeyTypes) -> Credentials:
        files = self.identity
        trust = load_certificates(files.trust, "trusted certificate")
        return Credentials(chain, key, trust, load_crls(files.crl) if files.crl else ())

    def _refuse_unkept(self) -> None:
        """Refuse files that are no plain files of their own: who else puts them there must renew them."""
        certificate, key = self.identity.certificate, self.identity.key
        if certificate == key:
            raise RunError(f"{key}: key and certificate are in one file, which is not renewed here; use two files.")
        for path in (certificate, key):
            if path.is_symlink():
                raise RunError(f"{path}: this is a symbolic link, so another tool keeps the file; renew it there.")


def _beside(path: Path, word: str) -> Path:
    return path.with_name(f"{path.stem}.{word}{path.suffix}")
