"""The files by which the store of [fleet] is asked: certificate, key and trust for TLS, and a password.

What [fleet] does not name is that of [identity]. Nothing in the store is believed for the sake of this connection
(`fleet.values`): it only keeps strangers out.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pcgrelay.config import FleetSettings
from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded
from pcgrelay.identity.credentials import Credentials, key_matches, load_certificates, load_key, refuse_open_secret
from pcgrelay.identity.reader_tls import named

PASSWORD_MOST_BYTES = 256


@dataclass(frozen=True, slots=True)
class StoreCredentials:
    """What the files contain."""

    chain: tuple[x509.Certificate, ...]  # leaf first
    key: PrivateKeyTypes = field(repr=False, compare=False)
    trust: tuple[x509.Certificate, ...]
    password: str = field(default="", repr=False)


def load_store_credentials(settings: FleetSettings, own: Credentials) -> StoreCredentials:
    """Read the files of [fleet]. own: those of [identity].

    Raises ConfigError for a file that is missing or wrong, PermissionProblem for a secret that others may read.
    """
    chain, key, trust = own.chain, own.key, own.trust
    if settings.certificate is not None and settings.key is not None:
        chain, key = load_certificates(settings.certificate, "certificate"), load_key(settings.key)
        if not key_matches(key, chain[0]):
            raise ConfigError(f"{settings.key}: the private key does not belong to {settings.certificate}.")
    if settings.trust is not None:
        trust = load_certificates(settings.trust, "trusted certificate")
    return StoreCredentials(chain, key, trust, _password(settings))


def _password(settings: FleetSettings) -> str:
    path = settings.password
    if path is None:
        return ""
    data = read_bounded(
        path, "password", PASSWORD_MOST_BYTES, lambda status: refuse_open_secret(path, status, "password")
    )
    try:
        password = data.decode().removesuffix("\n")
    except UnicodeDecodeError:
        password = ""
    if not password or not password.isprintable():
        raise ConfigError(f"{path}: a password is one line of text; write the one that the store has for this user.")
    return password


def store_context(credentials: StoreCredentials) -> ssl.SSLContext:
    """Return a context for a client that requires a certificate in the name of the member. ConfigError: wrong files."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        with (
            named(b"".join(each.public_bytes(Encoding.PEM) for each in credentials.chain)) as chain,
            named(credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())) as key,
        ):
            context.load_cert_chain(chain, key)
        with named(b"".join(each.public_bytes(Encoding.PEM) for each in credentials.trust)) as trust:
            context.load_verify_locations(trust)
    except ssl.SSLError as error:
        raise ConfigError(f"TLS with the store does not take the files of [fleet] ({error}).") from None
    return context
