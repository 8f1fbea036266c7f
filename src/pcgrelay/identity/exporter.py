"""The shared secret of a handshake, bound to everything that was agreed in it (docs/protocol.md, 2.5).

The secret comes from the TLS exporter. The exporter itself does not cover the client's certificate, so its context
does: both identities, by name and by leaf certificate, their roles, the purpose, and every byte of both HELLOs. Two
sides that differ in any of these get different secrets, and the first sealed frame fails to open.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

from OpenSSL import SSL

from pcgrelay.identity.pyopenssl import export_into
from pcgrelay.model import Role, Suite

VERSION = 1
EXPORTER_LABEL = b"EXPERIMENTAL-pcgrelay-v1"  # RFC 5705, 4: labels with this beginning need no registration
SECRET_BYTES = 32
CONTEXT_BYTES = 190


class Purpose(IntEnum):
    """Purposes of a handshake, with the numbers of HELLO (docs/protocol.md, 9.2)."""

    LINK = 1
    SESSION = 2
    LINK_RENEWAL = 3
    SESSION_RENEWAL = 4


@dataclass(frozen=True, slots=True)
class KeyContext:
    """Everything that a secret is bound to."""

    purpose: Purpose
    client_role: Role
    server_role: Role
    suite: Suite
    generation: int
    client_uri: str
    server_uri: str
    client_leaf: bytes  # DER
    server_leaf: bytes  # DER
    transcript: bytes  # the client's HELLO message and the server's, with their length prefixes

    def encoded(self) -> bytes:
        """Encode the exporter's context: tagged fields of fixed length in a fixed order, CONTEXT_BYTES in all."""
        fields = (
            VERSION.to_bytes(2, "big"),
            self.purpose.to_bytes(1, "big"),
            bytes((self.client_role, self.server_role)),
            self.suite.to_bytes(1, "big"),
            self.generation.to_bytes(4, "big"),
            _sha256(self.client_uri.encode()),
            _sha256(self.server_uri.encode()),
            _sha256(self.client_leaf),
            _sha256(self.server_leaf),
            _sha256(self.transcript),
        )
        return b"".join(bytes((tag, len(value))) + value for tag, value in enumerate(fields, 1))

    def binding(self) -> bytes:
        """Return the 32 bytes that CONFIRM shows to the other side."""
        return _sha256(self.encoded())


def export_secret(connection: SSL.Connection, context: KeyContext) -> tuple[bytearray, bytes]:
    """Return the shared secret and its binding (32 bytes each). The secret is the only copy; the caller wipes it.

    Raises ValueError if the handshake is not complete.
    """
    secret, encoded = bytearray(SECRET_BYTES), context.encoded()
    export_into(connection, secret, EXPORTER_LABEL, encoded)
    return secret, _sha256(encoded)


def wipe_secret(secret: bytearray) -> None:
    """Overwrite a secret with zeros."""
    secret[:] = bytes(len(secret))


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
