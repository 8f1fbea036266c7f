"""TLS 1.3 in memory: a context with the profile of docs/protocol.md, 2.2, and a driver without a socket.

No callback is set, because a callback of cffi needs memory that is writable and executable at once, which the hardened
service forbids. So OpenSSL alone judges chain, dates and revocation; resumption, group and identity are judged after
the TLS handshake, and before the secret is exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL
from OpenSSL.crypto import (
    FILETYPE_ASN1,
    X509,
    Error,
    X509Store,
    X509StoreContext,
    X509StoreContextError,
    X509StoreFlags,
    dump_certificate,
)

from pcgrelay.errors import ConfigError, PcgrelayError
from pcgrelay.identity.certificates import Refusal, Shown, date_text, shown_of
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.pyopenssl import set_groups, verify_error, was_resumed

HYBRID_GROUPS = frozenset({"X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024"})
GROUPS_REQUIRED = "X25519MLKEM768"
GROUPS_PREFERRED = "X25519MLKEM768:X25519:P-256"
TLS_SUITES = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"
CHAIN_DEPTH = 7  # certificates above the leaf
READ_BYTES = 65_536

# X509_V_ERR numbers of OpenSSL's x509_vfy.h; all others are `other`.
_VERIFY_REASONS = {
    2: Refusal.UNKNOWN_ISSUER,
    3: Refusal.NO_CRL,
    5: Refusal.BAD_CRL,
    7: Refusal.BAD_SIGNATURE,
    8: Refusal.BAD_CRL,
    9: Refusal.NOT_YET_VALID,
    10: Refusal.EXPIRED,
    11: Refusal.CRL_NOT_CURRENT,
    12: Refusal.CRL_NOT_CURRENT,
    18: Refusal.UNKNOWN_ISSUER,
    19: Refusal.UNKNOWN_ISSUER,
    20: Refusal.UNKNOWN_ISSUER,
    21: Refusal.UNKNOWN_ISSUER,
    22: Refusal.UNKNOWN_ISSUER,
    23: Refusal.REVOKED,
    24: Refusal.WRONG_ISSUER,
    25: Refusal.WRONG_ISSUER,
    26: Refusal.WRONG_USAGE,
    32: Refusal.WRONG_ISSUER,
    33: Refusal.BAD_CRL,
    34: Refusal.UNKNOWN_EXTENSION,
    35: Refusal.BAD_CRL,
    36: Refusal.BAD_CRL,
    37: Refusal.WRONG_USAGE,
    39: Refusal.WRONG_USAGE,
    41: Refusal.UNKNOWN_EXTENSION,
    44: Refusal.BAD_CRL,
    47: Refusal.WRONG_NAME,
    48: Refusal.WRONG_NAME,
    49: Refusal.WRONG_NAME,
    51: Refusal.WRONG_NAME,
    52: Refusal.WRONG_NAME,
    53: Refusal.WRONG_NAME,
    54: Refusal.BAD_CRL,
    66: Refusal.WEAK,
    67: Refusal.WEAK,
    68: Refusal.WEAK,
    79: Refusal.WRONG_ISSUER,
}
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME; pyOpenSSL has no name for it


class HandshakeRefused(PcgrelayError):
    """A handshake failed. reason: one word for counters. The peer gets a code at most."""

    def __init__(self, reason: str, sentence: str, farewell: bytes = b"") -> None:
        super().__init__(sentence)
        self.reason = reason
        self.farewell = farewell  # bytes that may still be sent before the connection is closed
        self.shuts_out = False  # the authenticated peer refuses this node
        self.shown: Shown | None = None  # the certificate that was refused, if the next one of its chain signed it


def make_context(credentials: Credentials, *, post_quantum_required: bool) -> SSL.Context:
    """Make a TLS context for clients and servers. New credentials need a new context.

    Raises ConfigError if OpenSSL does not accept the credentials, ValueError if it does not know a group.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(TLS_SUITES)
    set_groups(context, GROUPS_REQUIRED if post_quantum_required else GROUPS_PREFERRED)
    # Both are needed: with either alone a client can still resume, which skips all checks of certificates.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    # An idle control connection keeps no TLS buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_verify_depth(CHAIN_DEPTH)
    store = context.get_cert_store()
    assert store is not None
    _store_fill(store, credentials)
    _own_files_taken(context, credentials)
    return context


def _own_files_taken(context: SSL.Context, credentials: Credentials) -> None:
    """Set the own certificates and key. Raises ConfigError if OpenSSL refuses them, for example for a small key."""
    what = "certificate"
    try:
        context.use_certificate(credentials.leaf)
        for certificate in credentials.chain[1:]:
            what = "certificate of a CA that stands in the file of the own certificate"
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise ConfigError(
            f"TLS does not take the {what} ({_words(error)}); issue a new one, with a P-256 key."
        ) from None
    context.use_privatekey(credentials.key)  # type: ignore[arg-type]
    context.check_privatekey()


def make_store(credentials: Credentials) -> X509Store:
    """Make a store with the same trust as in a handshake, for chains that arrive otherwise (catalogue entries)."""
    store = X509Store()
    _store_fill(store, credentials)
    return store


def set_verify_time(store: X509Store, moment: datetime | None) -> None:
    """Judge certificates by this moment instead of the present; None: without regard to dates."""
    if moment is None:
        store.set_flags(_NO_CHECK_TIME)
    else:
        store.set_time(moment)


def chain_refusal(store: X509Store, chain: Sequence[x509.Certificate]) -> Refusal | None:
    """Return the reason for which the store does not trust a chain (leaf first) now, or None."""
    try:
        leaf, *others = (X509.from_cryptography(certificate) for certificate in chain)
        X509StoreContext(store, leaf, others).verify_certificate()
    except X509StoreContextError as error:
        return refusal_of(error.errors[0])
    except Error:
        return Refusal.MALFORMED  # one library has read it, and the other does not
    return None


def refusal_of(code: int) -> Refusal:
    """Return the reason for a result of OpenSSL's verification (X509_V_ERR of x509_vfy.h)."""
    return _VERIFY_REASONS.get(code, Refusal.OTHER)


def _store_fill(store: X509Store, credentials: Credentials) -> None:
    for certificate in credentials.trust:
        store.add_cert(X509.from_cryptography(certificate))
    if not credentials.crls:
        return
    for crl in credentials.crls:
        store.add_crl(crl)
    flags = X509StoreFlags.CRL_CHECK
    issuers = {crl.issuer for crl in credentials.crls}
    # With a list for every anchor the whole chain can be checked, and a revoked intermediate is found. Otherwise such a
    # check would refuse every peer, although the list for the leaf is there.
    if all(anchor.subject in issuers for anchor in credentials.trust):
        flags |= X509StoreFlags.CRL_CHECK_ALL
    store.set_flags(flags)


class TlsDriver:
    """One TLS connection without a socket: `feed` received bytes, `take` bytes to send.

    Every method may raise HandshakeRefused; the driver must not be used after that.
    """

    def __init__(self, context: SSL.Context, *, client: bool) -> None:
        self._connection = SSL.Connection(context, None)
        if client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    @property
    def connection(self) -> SSL.Connection:
        """The connection of pyOpenSSL, for the exporter alone."""
        return self._connection

    def feed(self, data: bytes) -> None:
        """Feed bytes of the peer. The caller limits their number."""
        if data:
            self._connection.bio_write(data)  # a memory BIO takes all of it or fails

    def take(self) -> bytes:
        """Return all bytes that are to be sent to the peer."""
        taken = bytearray()
        with suppress(SSL.WantReadError):
            while len(taken) % READ_BYTES == 0:  # a shorter read was the last
                taken += self._connection.bio_read(READ_BYTES)
        return bytes(taken)

    def handshake(self) -> bool:
        """Continue the TLS handshake with what was fed; whether it is complete."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._refused(error) from None
        if was_resumed(self._connection):
            raise HandshakeRefused("resumed", "The handshake was resumed, which skips the check of certificates.")
        return True

    def read(self) -> bytes:
        """Return the decrypted data of the peer that has arrived; empty if there is none."""
        taken = bytearray()
        try:
            while True:
                taken += self._connection.recv(READ_BYTES)
        except SSL.WantReadError:
            return bytes(taken)
        except SSL.ZeroReturnError:
            raise HandshakeRefused("closed", "The peer closed the connection in good order.") from None
        except SSL.Error as error:
            refused = self._refused(error)
            # Sent after the handshake, so by the peer itself. An alert about a date may be due to the peer's own list.
            refused.shuts_out = "alert certificate revoked" in _words(error)
            raise refused from None

    def write(self, data: bytes) -> None:
        """Encrypt data for the peer; `take` returns it."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise self._refused(error) from None

    def group(self) -> str:
        """The name of the negotiated key agreement group."""
        return self._connection.get_group_name() or "unknown"

    def suite(self) -> str:
        """The name of the TLS cipher suite, which protects the control connection."""
        return self._connection.get_cipher_name() or "unknown"

    def peer_chain(self) -> tuple[bytes, ...]:
        """Return the verified chain of the peer in DER, leaf first. The leaf's key signed the handshake."""
        chain = self._connection.get_verified_chain()
        if not chain:
            raise HandshakeRefused(Refusal.NO_CERTIFICATE, "The peer showed no certificate.")
        return tuple(dump_certificate(FILETYPE_ASN1, certificate) for certificate in chain)

    def _shown(self) -> Shown | None:
        """Describe the leaf of the chain that OpenSSL refused."""
        chain = self._connection.get_verified_chain() or []
        return shown_of([dump_certificate(FILETYPE_ASN1, certificate) for certificate in chain])

    def _refused(self, error: SSL.Error) -> HandshakeRefused:
        if isinstance(error, SSL.SysCallError):
            return HandshakeRefused("closed", "The peer broke the connection off.")
        words = _words(error)
        if "certificate verify failed" in words:
            reason = refusal_of(verify_error(self._connection))
            shown = self._shown()
            whose = f" of {shown.name} (serial {shown.serial}, until {date_text(shown.not_after)})" if shown else ""
            why = reason.replace("_", " ")
            refused = HandshakeRefused(reason, f"The peer's certificate{whose} was refused: {why}.")
            refused.shown = shown
            return refused
        for part, reason_word, sentence in _TLS_REASONS:
            if part in words:
                return HandshakeRefused(reason_word, sentence)
        return HandshakeRefused("tls_error", "What the peer sent is no TLS of this profile.")


def _words(error: SSL.Error) -> str:
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return " / ".join(str(entry[-1]) for entry in stack)


# Parts of OpenSSL's error texts, the most specific first.
_TLS_REASONS = (
    ("did not return a certificate", Refusal.NO_CERTIFICATE, "The peer showed no certificate."),
    (
        "alert certificate expired",
        "peer_refused",
        "To the peer this node's certificate, or the peer's own revocation list, has expired; look at both dates and "
        "both clocks.",
    ),
    ("alert certificate revoked", "peer_refused", "The peer says that this node's certificate is revoked."),
    ("key too small", Refusal.WEAK, "A key in a certificate is too small for TLS here."),
    ("md too weak", Refusal.WEAK, "The signature of a certificate is too weak for TLS here."),
    ("alert", "peer_refused", "The peer refused the handshake; its own log says why."),
    ("unsupported protocol", "tls_version", "The peer does not speak TLS 1.3."),
    ("wrong version number", "tls_version", "The peer does not speak TLS 1.3."),
    ("no suitable key share", "group", "The peer offers no key agreement that the policy allows."),
    ("no suitable groups", "group", "The peer offers no key agreement that the policy allows."),
    ("no shared group", "group", "The peer offers no key agreement that the policy allows."),
    ("no shared cipher", "tls_suite", "The peer offers no TLS suite that the policy allows."),
)


def leaf_der(certificate: x509.Certificate) -> bytes:
    """Return the DER of a certificate."""
    return certificate.public_bytes(Encoding.DER)
