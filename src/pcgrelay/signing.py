"""Signatures by the key of a node's certificate, over what outlasts a connection: catalogue entries, keys of logs.

ECDSA with SHA-256 (P-256) or SHA-384 (P-384), Ed25519, or RSASSA-PSS with SHA-256 and a salt of 32 (docs/protocol.md,
9.4). Each user signs behind a prefix of its own, so that no signature serves another purpose.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from pcgrelay.errors import PcgrelayError

PSS_SALT_BYTES = 32
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=PSS_SALT_BYTES)


def sign(key: PrivateKeyTypes, data: bytes) -> bytes:
    """Sign data. PcgrelayError: the key is of another kind than P-256, P-384, Ed25519 or RSA."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hash_of(key.curve)))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PSS, hashes.SHA256())
    raise PcgrelayError("The node's key is of a kind that cannot sign a catalogue entry; use P-256, Ed25519 or RSA.")


def verify(key: object, signature: bytes, data: bytes) -> None:
    """Raise InvalidSignature, or whatever the library makes of a key that somebody else wrote."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, data, ec.ECDSA(hash_of(key.curve)))
    elif isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, data, _PSS, hashes.SHA256())
    else:
        raise InvalidSignature


def hash_of(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    """Return the hash that belongs to a curve."""
    return hashes.SHA256() if isinstance(curve, ec.SECP256R1) else hashes.SHA384()
