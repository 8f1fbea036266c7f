"""What a CA signs: its own certificate, leaves and revocation lists (pure).

All keys that are made here are P-256: a CA on P-384 would double the price of every handshake.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pcgrelay.ca.index import Index
from pcgrelay.model import NodeId

SKEW = timedelta(minutes=5)  # clocks of other machines may be behind this one's


def make_key() -> ec.EllipticCurvePrivateKey:
    """Make a private key."""
    return ec.generate_private_key(ec.SECP256R1())


def sign_ca(key: ec.EllipticCurvePrivateKey, realm: str, not_before: datetime, not_after: datetime) -> x509.Certificate:
    """Make the CA's own certificate."""
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


def sign_leaf(
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    node: NodeId,
    not_before: datetime,
    not_after: datetime,
    hosts: Sequence[x509.GeneralName] = (),
) -> x509.Certificate:
    """Make a node's certificate, with the CA's key. Of a request only the public key comes in, nothing else.

    hosts: names and addresses beside its identity.
    """
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    return _sign_named(
        _leaf(key, issuer, public_key, not_before, not_after).add_extension(purposes, critical=False),
        [x509.UniformResourceIdentifier(node.uri), *hosts],
        key,
    )


def sign_signer(
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    uri: str,
    not_before: datetime,
    not_after: datetime,
) -> x509.Certificate:
    """Make the certificate of whoever signs the realm's bundles, with the CA's key. It is of no use for TLS."""
    leaf = _leaf(key, issuer, public_key, not_before, not_after)
    return _sign_named(leaf, [x509.UniformResourceIdentifier(uri)], key)


def _leaf(
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    """What each certificate has that is none of a CA."""
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))  # the URI alone is the identity; RFC 5280, 4.1.2.6: it is critical then
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )


def _sign_named(
    leaf: x509.CertificateBuilder, names: Sequence[x509.GeneralName], key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    return leaf.add_extension(x509.SubjectAlternativeName(names), critical=True).sign(key, hashes.SHA256())


def sign_list(
    key: ec.EllipticCurvePrivateKey, issuer: x509.Name, index: Index, start: datetime, end: datetime
) -> x509.CertificateRevocationList:
    """Make the revocation list of an index, with the number that stands there."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer)
        .last_update(start)
        .next_update(end)
        .add_extension(x509.CRLNumber(index.crl_number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    for entry in _revoked(index):
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256())


def _revoked(index: Index) -> Iterable[x509.RevokedCertificate]:
    for entry in index.issued:
        if entry.revoked is not None:
            builder = x509.RevokedCertificateBuilder().serial_number(int(entry.serial, 16))
            yield builder.revocation_date(entry.revoked).build()


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
