"""Realms that are odd: chains, lists and files of trust as other authorities make them, right and wrong.

Each is a recipe for the files of two nodes. What becomes of them is not said here: tests compare what `check` says with
what two nodes do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.pki import REALM, Files

DAY = timedelta(days=1)
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
OUR_OID = x509.ObjectIdentifier("1.3.6.1.4.1.55555.1")
TEST_KEYS: dict[str, Callable[[], Any]] = {
    "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "p521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "k256": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "rsa1024": lambda: rsa.generate_private_key(65537, 1024),
    "rsa2048": lambda: rsa.generate_private_key(65537, 2048),
}
RSA_WITH_SHA256 = bytes.fromhex("06092a864886f70d01010b")
RSA_WITH_SHA1 = bytes.fromhex("06092a864886f70d010105")
SHA1_INFO = bytes.fromhex("3021300906052b0e03021a05000414")


def usage(*names: str) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
        "encipher_only decipher_only"
    ).split()
    return x509.KeyUsage(**{name: name in names for name in every})


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def hash_of(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


@dataclass
class Issuer:
    """A CA: its certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def name(self) -> x509.Name:
        return self.certificate.subject


def ca(
    name: str,
    issuer: Issuer | None = None,
    *,
    key: Any = None,
    start: timedelta = -DAY,
    end: timedelta = 400 * DAY,
    path_length: int | None = None,
    constraints: bool = True,
    usages: x509.KeyUsage | None = None,
    purposes: Sequence[x509.ObjectIdentifier] | None = None,
    permitted: str | None = None,
    excluded: str | None = None,
    skid: bool = True,
    aki: bool = True,
    critical_oid: bool = False,
    sha1: bool = False,
) -> Issuer:
    key = key or TEST_KEYS["p256"]()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = x509.CertificateBuilder(
        issuer.name if issuer else subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now() + start,
        now() + end,
    )
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    builder = builder.add_extension(usages or usage("key_cert_sign", "crl_sign"), critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if permitted or excluded:
        names = [[x509.UniformResourceIdentifier(each)] if each else None for each in (permitted, excluded)]
        builder = builder.add_extension(x509.NameConstraints(*names), critical=True)
    if skid:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    if aki and issuer:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if critical_oid:
        builder = builder.add_extension(x509.UnrecognizedExtension(OUR_OID, b"\x05\x00"), critical=True)
    return Issuer(signed(builder, signer, sha1), key)


def signed(builder: x509.CertificateBuilder, signer: Any, sha1: bool) -> x509.Certificate:
    """Sign; with SHA-1 by hand, for no library does that any more. RSA alone, and the lengths stay as they are."""
    made = builder.sign(signer, hash_of(signer))
    if not sha1:
        return made
    body = made.tbs_certificate_bytes.replace(RSA_WITH_SHA256, RSA_WITH_SHA1)
    numbers = signer.private_numbers()
    size = (numbers.public_numbers.n.bit_length() + 7) // 8
    digest = SHA1_INFO + hashlib.sha1(body, usedforsecurity=False).digest()
    padded = b"\x00\x01" + b"\xff" * (size - 3 - len(digest)) + b"\x00" + digest
    signature = pow(int.from_bytes(padded, "big"), numbers.d, numbers.public_numbers.n).to_bytes(size, "big")
    whole = made.public_bytes(Encoding.DER).replace(RSA_WITH_SHA256, RSA_WITH_SHA1)
    return x509.load_der_x509_certificate(whole[: -len(signature)] + signature)


def crl(
    issuer: Issuer,
    *,
    start: timedelta = -DAY,
    end: timedelta | None = 300 * DAY,
    aki: bool = True,
    idp: x509.IssuingDistributionPoint | None = None,
    revoked: Sequence[int] = (),
    key: Any = None,
    critical_oid: bool = False,
    number: int | None = 1,
    delta: bool = False,
) -> x509.CertificateRevocationList:
    signer = key or issuer.key
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.name)
        .last_update(now() + start)
        .next_update(now() + (end or 300 * DAY))
    )
    if number is not None:
        builder = builder.add_extension(x509.CRLNumber(number), critical=False)
    if delta:
        builder = builder.add_extension(x509.DeltaCRLIndicator(1), critical=False)
    if aki:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if idp:
        builder = builder.add_extension(idp, critical=True)
    if critical_oid:
        builder = builder.add_extension(x509.UnrecognizedExtension(OUR_OID, b"\x05\x00"), critical=True)
    for serial in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now() - DAY / 2).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer, hash_of(signer))


def leaf(
    issuer: Issuer,
    uri: str,
    *,
    kind: str = "p256",
    start: timedelta = -DAY,
    end: timedelta = 200 * DAY,
    usages: x509.KeyUsage | None = None,
    purposes: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT),
    constraints: bool = True,
    aki: bool = True,
    critical_oid: bool = False,
    sha1: bool = False,
    padding_bytes: int = 0,
) -> tuple[x509.Certificate, Any]:
    key = TEST_KEYS[kind]()
    builder = x509.CertificateBuilder(
        issuer.name, x509.Name([]), key.public_key(), x509.random_serial_number(), now() + start, now() + end
    ).add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
    if constraints:
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if usages:
        builder = builder.add_extension(usages, critical=True)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(list(purposes)), critical=False)
    if aki:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if critical_oid:
        builder = builder.add_extension(x509.UnrecognizedExtension(OUR_OID, b"\x05\x00"), critical=True)
    if padding_bytes:
        content = b"\x04\x83" + padding_bytes.to_bytes(3, "big") + bytes(padding_bytes)
        builder = builder.add_extension(x509.UnrecognizedExtension(OUR_OID, content), critical=False)
    return signed(builder, issuer.key, sha1), key


@dataclass
class Odd:
    """What the two nodes of a case have: one issuer or two, and the same trust and lists."""

    issuer: Issuer
    trust: Sequence[Issuer]
    crls: Sequence[x509.CertificateRevocationList]
    above: Sequence[Issuer] = ()  # that go into the file of the certificate
    leaf: dict[str, Any] = field(default_factory=dict)
    revokes: Callable[[Sequence[int]], Sequence[x509.CertificateRevocationList]] | None = None
    leaves: dict[str, tuple[x509.Certificate, Any]] = field(default_factory=dict)

    def prepare(self, *names: tuple[str, str]) -> None:
        """Sign for these nodes (organisation, name); what revokes them names them all."""
        for organisation, node in names:
            uri = f"spiffe://{REALM}/org/{organisation}/node/{node}"
            self.leaves[node] = leaf(self.issuer, uri, **self.leaf)

    def files(self, folder: Path, node: str) -> Files:
        """The files of one node, written."""
        folder.mkdir(parents=True)
        own, key = self.leaves[node]
        serials = [each.serial_number for each, _ in self.leaves.values()]
        crls = [*self.crls, *(self.revokes(serials) if self.revokes else ())]
        files = Files(folder / "own.pem", folder / "own.key", folder / "trust.pem", folder / "list.pem")
        chain = [own, *(issuer.certificate for issuer in self.above)]
        files.certificate.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in chain))
        files.trust.write_bytes(b"".join(each.certificate.public_bytes(Encoding.PEM) for each in self.trust))
        files.crl.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in crls))
        files.key.touch(mode=0o600)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files
