"""The only module that uses private parts of pyOpenSSL.

Four things are needed that its public interface does not offer: setting the list of groups, whether a session was
resumed, the reason for which a chain was refused, and an export into memory that can be wiped. Each has one function
here, so that a release of pyOpenSSL that offers it changes one function only.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

# The binding is generated at run time and has no types.
_lib: Any = lib
_ffi: Any = ffi


def set_groups(context: SSL.Context, groups: str) -> None:
    """Allow these key agreement groups only, in this order ("X25519MLKEM768:X25519").

    Raises ValueError if OpenSSL does not know one of them.
    """
    public = getattr(context, "set_groups", None)
    if public is not None:
        public(groups.encode())
        return
    # In the binding since pyca/cryptography pull request 14288.
    if _lib.SSL_CTX_set1_curves_list(context._context, groups.encode()) != 1:
        _lib.ERR_clear_error()
        raise ValueError(f"this OpenSSL knows no group list {groups}")


def was_resumed(connection: SSL.Connection) -> bool:
    """Whether the handshake resumed an earlier TLS session instead of using certificates."""
    return bool(_lib.SSL_session_reused(connection._ssl))


def verify_error(connection: SSL.Connection) -> int:
    """Return OpenSSL's X509_V_ERR number of the last check of the peer's chain; 0: valid."""
    return int(_lib.SSL_get_verify_result(connection._ssl))


def export_into(connection: SSL.Connection, target: bytearray, label: bytes, context: bytes) -> None:
    """Fill target from the TLS exporter (RFC 5705, RFC 8446 section 7.5).

    pyOpenSSL's own method leaves two copies of the secret in memory that cannot be wiped: in a buffer that it frees
    without clearing, and in a bytes object. Here OpenSSL writes into target, which is the only copy. Raises ValueError
    if the handshake is not complete.
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
