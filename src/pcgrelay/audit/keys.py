"""The keys of a log: made at its start, kept beside it, and signed by the certificate of the node.

The signature is over `statement_of`, behind a prefix of its own (docs/protocol.md, 9.12). So whoever knows the CA of
the realm knows the keys of every log.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct

from pcgrelay.audit.checkpoint import ORIGIN_PREFIX, base64_bytes, origin_of
from pcgrelay.audit.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    NoteRefused,
    NoteSigner,
    NoteVerifier,
)
from pcgrelay.errors import ConfigError, ProofProblem
from pcgrelay.files import PRIVATE_MODE, read_bounded, write_new
from pcgrelay.log.audit_events import AuditKeys, LogKeysRecord
from pcgrelay.model import NodeId
from pcgrelay.signing import verify

SIGNED_BEFORE = b"pcgrelay audit keys v1\0"
ED25519_FILE, ML_DSA_44_FILE = "key.ed25519", "key.mldsa44"
KEY_MOST_BYTES = 8_192
CERTIFICATES_MOST = 8

# Signs bytes by the key of the node's certificate, and returns its chain (DER, leaf first) with the signature.
Endorse = Callable[[bytes], tuple[Sequence[bytes], bytes]]


class LogKeys(Struct, frozen=True):
    """The private keys of a node's log, and what others verify by."""

    origin: str
    ed25519: NoteSigner
    ml_dsa_44: NoteSigner
    cosigner: NoteSigner

    @property
    def signers(self) -> tuple[NoteSigner, NoteSigner]:
        """Those that sign a checkpoint of this log."""
        return self.ed25519, self.ml_dsa_44

    @property
    def public(self) -> PublicKeys:
        """What others verify by."""
        return PublicKeys(self.origin, self.ed25519.verifier, self.ml_dsa_44.verifier, self.cosigner.verifier)

    def endorsed(self, endorse: Endorse) -> AuditKeys:
        """Return the record of these keys, signed by the node's certificate."""
        chain, signature = endorse(SIGNED_BEFORE + self.public.statement)
        return AuditKeys(
            origin=self.origin,
            ed25519=self.ed25519.verifier.vkey,
            ml_dsa_44=self.ml_dsa_44.verifier.vkey,
            cosigner=self.cosigner.verifier.vkey,
            certificates=tuple(b64encode(each).decode() for each in chain[:CERTIFICATES_MOST]),
            signature=b64encode(signature).decode(),
        )


class PublicKeys(Struct, frozen=True):
    """The public keys of a log."""

    origin: str
    ed25519: NoteVerifier  # of its checkpoints, type 0x01,
    ml_dsa_44: NoteVerifier  # type 0x06,
    cosigner: NoteVerifier  # and of its cosignatures under the checkpoints of others, type 0x04

    @property
    def statement(self) -> bytes:
        """What the certificate signs, behind SIGNED_BEFORE."""
        lines = (self.origin, self.ed25519.vkey, self.ml_dsa_44.vkey, self.cosigner.vkey)
        return "".join(f"{line}\n" for line in lines).encode()


def cosigner_name(node: NodeId) -> str:
    """The name by which a node cosigns checkpoints of others: ORGANISATION/NODE."""
    return f"{node.organisation}/{node.name}"


def has_keys(folder: Path) -> bool:
    """Whether the keys of a log have been made in its folder, both of them."""
    return (folder / ED25519_FILE).exists() and (folder / ML_DSA_44_FILE).exists()


def make_keys(folder: Path) -> None:
    """Make new keys in the folder of a log that nobody has signed. PcgrelayError, OSError: they cannot be written."""
    for name, key in ((ED25519_FILE, Ed25519PrivateKey.generate()), (ML_DSA_44_FILE, MLDSA44PrivateKey.generate())):
        # One may be there alone, if a process ended between the two.
        (folder / name).unlink(missing_ok=True)
        write_new(folder / name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), PRIVATE_MODE)


def load_keys(folder: Path, node: NodeId) -> LogKeys:
    """Read the keys of a node's log. PcgrelayError: they cannot be read, or are no such keys."""
    origin = origin_of(node.realm, node.organisation, node.name)
    ed25519, ml_dsa_44 = _read(folder / ED25519_FILE), _read(folder / ML_DSA_44_FILE)
    if not isinstance(ed25519, Ed25519PrivateKey) or not isinstance(ml_dsa_44, MLDSA44PrivateKey):
        raise ConfigError(f"{folder}: the keys of the audit log are of other kinds; put the right files back.")
    return LogKeys(
        origin,
        NoteSigner(origin, ED25519, ed25519),
        NoteSigner(origin, COSIGNATURE_ML_DSA_44, ml_dsa_44),
        NoteSigner(cosigner_name(node), COSIGNATURE_ED25519, ed25519),
    )


def read_keys_record(record: LogKeysRecord) -> tuple[PublicKeys, list[x509.Certificate]]:
    """Return the keys that a record tells, with the chain (leaf first) whose leaf has signed them.

    Whether that chain is to be trusted, and names the node of the origin, is for the caller. ProofProblem: something in
    it is malformed, or the signature does not hold.
    """
    try:
        chain = [x509.load_der_x509_certificate(base64_bytes(text) or b"") for text in record.certificates]
        keys = public_keys(record.origin, (record.ed25519, record.ml_dsa_44, record.cosigner))
        verify(chain[0].public_key(), base64_bytes(record.signature) or b"", SIGNED_BEFORE + keys.statement)
    except ProofProblem:
        raise
    except Exception:
        # A peer wrote the certificates: whatever the library raises is a refusal.
        raise NoteRefused(f"The keys of {record.origin} are not signed by the certificate that is with them.") from None
    return keys, chain


def public_keys(origin: str, vkeys: Sequence[str]) -> PublicKeys:
    """Read three vkeys. NoteRefused: they are not the three of that log."""
    ed25519, ml_dsa_44, cosigner = (NoteVerifier.parse(vkey) for vkey in vkeys)
    kinds = (ed25519.kind, ml_dsa_44.kind, cosigner.kind)
    names = (ed25519.name, ml_dsa_44.name, cosigner.name)
    organisation_and_node = origin.removeprefix(ORIGIN_PREFIX).partition("/")[2]
    if kinds != (ED25519, COSIGNATURE_ML_DSA_44, COSIGNATURE_ED25519) or names != (
        origin,
        origin,
        organisation_and_node,
    ):
        raise NoteRefused(
            f"The keys of {origin} are not those of a log, an Ed25519 and an ML-DSA-44, and of a witness."
        )
    return PublicKeys(origin, ed25519, ml_dsa_44, cosigner)


def _read(path: Path) -> object:
    data = read_bounded(path, "key of the audit log", KEY_MOST_BYTES)
    try:
        return load_pem_private_key(data, None)
    except (ValueError, TypeError):
        raise ConfigError(f"{path}: this is no key of an audit log; put the right file back.") from None
