"""The CA's key under a passphrase: PKCS #8 with PBES2 (RFC 8018, 6.2), which openssl and other tools read too.

The library alone would derive the key with 2,048 rounds, which is nothing for who has stolen a file. So the rounds are
those that OWASP asks for in 2023, and the envelope is written here; the library reads it.
"""

from __future__ import annotations

import base64
import os
import textwrap

from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ObjectIdentifier

from pcgrelay.errors import UsageProblem

ROUNDS = 600_000
SALT_BYTES = 16
KEY_BYTES = 32
LEAST_CHARACTERS = 12
MOST_BYTES = 1_024
_PBES2 = ObjectIdentifier("1.2.840.113549.1.5.13")
_PBKDF2 = ObjectIdentifier("1.2.840.113549.1.5.12")
_HMAC_SHA256 = ObjectIdentifier("1.2.840.113549.2.9")
_AES_256_CBC = ObjectIdentifier("2.16.840.1.101.3.4.1.42")


@asn1.sequence
class _Hash:
    algorithm: ObjectIdentifier
    parameters: asn1.Null


@asn1.sequence
class _Pbkdf2:
    salt: bytes
    rounds: int
    hash: _Hash


@asn1.sequence
class _Derivation:
    algorithm: ObjectIdentifier
    parameters: _Pbkdf2


@asn1.sequence
class _Cipher:
    algorithm: ObjectIdentifier
    vector: bytes


@asn1.sequence
class _Pbes2:
    derivation: _Derivation
    cipher: _Cipher


@asn1.sequence
class _Scheme:
    algorithm: ObjectIdentifier
    parameters: _Pbes2


@asn1.sequence
class _Envelope:
    scheme: _Scheme
    data: bytes  # the PrivateKeyInfo, encrypted


def refuse_weak(passphrase: bytes) -> None:
    """Raise UsageProblem for a passphrase that protects nothing, or that no person or file has."""
    if len(passphrase) > MOST_BYTES:
        raise UsageProblem(f"The passphrase is longer than {MOST_BYTES} bytes; choose a shorter one.")
    if len(passphrase.decode("utf-8", "replace")) < LEAST_CHARACTERS:
        raise UsageProblem(f"The passphrase is shorter than {LEAST_CHARACTERS} characters; choose a longer one.")


def protected_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes, rounds: int = ROUNDS) -> bytes:
    """Return a private key as PEM under a passphrase. UsageProblem: as `refuse_weak`."""
    refuse_weak(passphrase)
    salt, vector = os.urandom(SALT_BYTES), os.urandom(algorithms.AES.block_size // 8)
    derived = PBKDF2HMAC(hashes.SHA256(), KEY_BYTES, salt, rounds).derive(passphrase)
    padder = padding.PKCS7(algorithms.AES.block_size).padder()
    clear = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    encryptor = Cipher(algorithms.AES(derived), modes.CBC(vector)).encryptor()
    data = encryptor.update(padder.update(clear) + padder.finalize()) + encryptor.finalize()
    derivation = _Derivation(
        algorithm=_PBKDF2,
        parameters=_Pbkdf2(salt=salt, rounds=rounds, hash=_Hash(algorithm=_HMAC_SHA256, parameters=asn1.Null())),
    )
    cipher = _Cipher(algorithm=_AES_256_CBC, vector=vector)
    scheme = _Scheme(algorithm=_PBES2, parameters=_Pbes2(derivation=derivation, cipher=cipher))
    body = base64.b64encode(asn1.encode_der(_Envelope(scheme=scheme, data=data))).decode()
    lines = "\n".join(textwrap.wrap(body, 64))
    return f"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{lines}\n-----END ENCRYPTED PRIVATE KEY-----\n".encode()
