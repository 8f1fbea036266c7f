"""The one place that reaches below pyOpenSSL's public face.

Four things are needed that the face does not offer: a list of groups, the word on resumption, the reason why a chain
was refused, and an export straight into memory that can be wiped. Each has one function here, so that a release of
pyOpenSSL that offers it changes one function and nothing else.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

# The binding is generated at run time and has no types.
_lib: Any = lib
_ffi: Any = ffi


def set_groups(context: SSL.Context, groups: str) -> None:
    """Offer and take these key agreement groups only, in this order ("X25519MLKEM768:X25519")."""
    public = getattr(context, "set_groups", None)
    if public is not None:
        public(groups.encode())
        return
    # Added to the binding for this purpose (pyca/cryptography pull request 14288).
    if _lib.SSL_CTX_set1_curves_list(context._context, groups.encode()) != 1:
        _lib.ERR_clear_error()
        raise ValueError(f"this OpenSSL knows no group list {groups}")


def was_resumed(connection: SSL.Connection) -> bool:
    """Whether the handshake leant on an earlier session instead of certificates."""
    return bool(_lib.SSL_session_reused(connection._ssl))


def verify_error(connection: SSL.Connection) -> int:
    """OpenSSL's X509_V_ERR number of the last check of the peer's chain; 0 is good."""
    return int(_lib.SSL_get_verify_result(connection._ssl))


def export_into(connection: SSL.Connection, target: bytearray, label: bytes, context: bytes) -> None:
    """Fill target from the TLS exporter.

    pyOpenSSL's own method leaves the secret twice in memory that nobody can wipe: in a buffer that it frees as it is,
    and in a bytes object. Here OpenSSL writes into target, and the only copy is the caller's.
    """
    if (
        _lib.SSL_export_keying_material(
            connection._ssl,
            _ffi.from_buffer(target),
            len(target),
            label,
            len(label),
            context,
            len(context),
            1,
        )
        != 1
    ):
        _lib.ERR_clear_error()
        raise ValueError("the TLS exporter refused; the handshake is not finished")
