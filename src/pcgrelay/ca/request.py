"""A node's request for a certificate (PKCS #10, RFC 2986): made at the node, judged at the CA.

The private key never leaves the node. The request carries the public key and one SPIFFE name, and proves that its
maker has the private key; who that is, a person finds out by comparing the fingerprint of the public key, which both
commands print. Of a request the CA takes the name and the public key and nothing else, and refuses what it does not
know rather than leave it out silently.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPublicKeyTypes, CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import AttributeOID, ExtensionOID

from pcgrelay.ca.certificates import make_key
from pcgrelay.errors import ConfigError, RunError
from pcgrelay.files import PRIVATE_MODE, lend_to_units, make_folder, read_bounded, refuse_present, write_new
from pcgrelay.identity.certificates import UNREADABLE
from pcgrelay.model import NameProblem, NodeId

REQUEST_LIMIT_BYTES = 65_536
CURVES = (ec.SECP256R1, ec.SECP384R1)
# What requests of other tools commonly have. The certificate's own are always made anew.
_KNOWN_EXTENSIONS = {
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A request that the CA may sign."""

    node: NodeId
    public_key: ec.EllipticCurvePublicKey

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key, as two people compare it."""
        return fingerprint_of(self.public_key)


def write_request(node: NodeId, key_path: Path, request_path: Path) -> Request:
    """Make a key and a request for a node; the units may read a key that root made for them.

    RunError: one of the files is there already; then nothing is written.
    """
    refuse_present(key_path)
    refuse_present(request_path)
    key = make_key()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(node.uri)])
    request = builder.add_extension(names, critical=True).sign(key, hashes.SHA256())
    for path in (key_path, request_path):
        make_folder(path.parent, 0o755)
    write_new(key_path, key_pem(key), PRIVATE_MODE)
    try:
        lend_to_units(key_path)
        write_new(request_path, request.public_bytes(Encoding.PEM))
    except BaseException:
        key_path.unlink()
        raise
    return Request(node, key.public_key())


def read_request(path: Path, realm: str) -> Request:
    """Read a request and judge it. ConfigError: it is none, or not one that a CA of that realm may sign."""
    data = read_bounded(path, "request", REQUEST_LIMIT_BYTES)
    try:
        request = x509.load_pem_x509_csr(data)
        public_key, word = request.public_key(), _refusal(request)
    except UNREADABLE:
        raise ConfigError(
            f"{path}: this is no request for a certificate in PEM; name what `pcgrelay ca request` wrote."
        ) from None
    if word or not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise ConfigError(f"{path}: {word}; make the request with: pcgrelay ca request")
    try:
        node = NodeId.from_uri(_names(request)[0].value)
    except NameProblem as problem:
        raise ConfigError(f"{path}: {problem}; make the request with: pcgrelay ca request") from None
    if node.realm != realm:
        raise ConfigError(f"{path}: the request is for a node of realm {node.realm}, and this is the CA of {realm}.")
    return Request(node, public_key)


def refuse_key_of_ca(request: Request, certificate: x509.Certificate) -> None:
    """Raise RunError if somebody asks for a certificate for the CA's own key."""
    if _public(request.public_key) == _public(certificate.public_key()):
        raise RunError("The request is for the CA's own key, which no node may have; make a key at the node.")


def fingerprint_of(public_key: CertificatePublicKeyTypes | CertificateIssuerPublicKeyTypes) -> str:
    """Return SHA-256 of a public key (subjectPublicKeyInfo) in groups of four digits, to be read out."""
    text = hashlib.sha256(_public(public_key)).hexdigest()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, without a passphrase."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _refusal(request: x509.CertificateSigningRequest) -> str:
    """Return what is wrong with a request, or an empty string. The name itself is judged by the caller."""
    public_key = request.public_key()
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, CURVES):
        return "its key is not one of P-256 or P-384, and others are too weak or too slow here"
    if not request.is_signature_valid:
        return "its signature is wrong, so nothing shows that its maker has the private key"
    if isinstance(request.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        return "its signature is made with a hash that is too weak"
    if any(attribute.oid != _EXTENSION_REQUEST for attribute in request.attributes):
        return "it has an attribute that is not known here"
    for extension in request.extensions:
        if extension.oid not in _KNOWN_EXTENSIONS:
            return f"it asks for an extension that is not known here ({extension.oid.dotted_string})"
        if isinstance(extension.value, x509.BasicConstraints) and extension.value.ca:
            return "it asks for the certificate of a CA"
    names = _names(request)
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        return "it must have exactly one name, the SPIFFE name of a node"
    return ""


_EXTENSION_REQUEST = x509.ObjectIdentifier("1.2.840.113549.1.9.14")
assert AttributeOID.CHALLENGE_PASSWORD != _EXTENSION_REQUEST


def _names(request: x509.CertificateSigningRequest) -> list[x509.GeneralName]:
    try:
        return list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return []


def _public(key: CertificatePublicKeyTypes | CertificateIssuerPublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
