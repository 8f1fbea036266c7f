"""TLS 1.3 in memory: a context by the profile of docs/protocol.md, 2.2, and a driver that turns bytes into bytes.

No callback is ever set, for a callback of cffi needs memory that is writable and executable at once, which the hardened
service denies itself. So OpenSSL judges chain, dates and revocation alone, and everything else is judged after the
handshake: resumption, group, identity. Nothing is exported before.
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

# X509_V_ERR numbers of OpenSSL's x509_vfy.h; whatever is not named here is `other`.
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
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which pyOpenSSL has no name for


class HandshakeRefused(PcgrelayError):
    """A handshake ended without a link or session. reason is one word for counters; the peer is told a code at most."""

    def __init__(self, reason: str, sentence: str, farewell: bytes = b"") -> None:
        super().__init__(sentence)
        self.reason = reason
        self.farewell = farewell  # what may still be sent before the connection is closed
        self.shuts_out = False  # the peer said, inside the seal of TLS, that this node may not come in
        self.shown: Shown | None = None  # the certificate that was refused, if a CA that is trusted here signed it


def make_context(credentials: Credentials, *, post_quantum_required: bool) -> SSL.Context:
    """A context for both roles; it cannot be changed once used, so new credentials mean a new context."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_max_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(TLS_SUITES)
    set_groups(context, GROUPS_REQUIRED if post_quantum_required else GROUPS_PREFERRED)
    # Either alone still lets a client resume, and resumption skips every check of certificates.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    # The chain's buffers are small and handshakes short; a link that idles keeps none.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    context.set_verify_depth(CHAIN_DEPTH)
    store = context.get_cert_store()
    assert store is not None
    _store_fill(store, credentials)
    _own_files_taken(context, credentials)
    return context


def _own_files_taken(context: SSL.Context, credentials: Credentials) -> None:
    """What this node shows; ConfigError if OpenSSL does not take it, as it does with keys that are too small."""
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
    """The same trust as in a handshake, for chains that come in other ways."""
    store = X509Store()
    _store_fill(store, credentials)
    return store


def set_verify_time(store: X509Store, moment: datetime | None) -> None:
    """Judge by this time instead of the clock's; without one, all dates are good."""
    if moment is None:
        store.set_flags(_NO_CHECK_TIME)
    else:
        store.set_time(moment)


def chain_refusal(store: X509Store, chain: Sequence[x509.Certificate]) -> Refusal | None:
    """Why a chain (leaf first) does not lead to the trust of the store now, or nothing."""
    leaf, *others = (X509.from_cryptography(certificate) for certificate in chain)
    try:
        X509StoreContext(store, leaf, others).verify_certificate()
    except X509StoreContextError as error:
        return _VERIFY_REASONS.get(error.errors[0], Refusal.OTHER)
    return None


def _store_fill(store: X509Store, credentials: Credentials) -> None:
    for certificate in credentials.trust:
        store.add_cert(X509.from_cryptography(certificate))
    if not credentials.crls:
        return
    for crl in credentials.crls:
        store.add_crl(crl)
    flags = X509StoreFlags.CRL_CHECK
    issuers = {crl.issuer for crl in credentials.crls}
    # With a list of every anchor the whole chain can be judged, and a revoked intermediate is found. Without, a check
    # of the whole chain would refuse everybody, though the leaf's own list is there.
    if all(anchor.subject in issuers for anchor in credentials.trust):
        flags |= X509StoreFlags.CRL_CHECK_ALL
    store.set_flags(flags)


class TlsDriver:
    """One TLS connection without a socket: feed what came in, take what goes out.

    Every method may raise HandshakeRefused. Whoever holds a driver frees it by dropping it; there is no way back.
    """

    def __init__(self, context: SSL.Context, *, client: bool) -> None:
        self._connection = SSL.Connection(context, None)
        if client:
            self._connection.set_connect_state()
        else:
            self._connection.set_accept_state()

    @property
    def connection(self) -> SSL.Connection:
        """For the exporter alone."""
        return self._connection

    def feed(self, data: bytes) -> None:
        """Take bytes of the peer. The caller bounds how many there are."""
        if data:
            self._connection.bio_write(data)  # memory takes all of it, or fails

    def take(self) -> bytes:
        """All bytes that wait to go to the peer."""
        taken = bytearray()
        with suppress(SSL.WantReadError):
            while len(taken) % READ_BYTES == 0:  # a read that gave less had the last
                taken += self._connection.bio_read(READ_BYTES)
        return bytes(taken)

    def handshake(self) -> bool:
        """Go on as far as the fed bytes allow; true once TLS itself is content."""
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
        """What the peer wrote, as far as it came; empty if nothing did."""
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
            # Said after the handshake, so by the peer itself. A bad date may be the fault of the peer's list.
            refused.shuts_out = "alert certificate revoked" in _words(error)
            raise refused from None

    def write(self, data: bytes) -> None:
        """Seal data for the peer; `take` has it afterwards."""
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise self._refused(error) from None

    def group(self) -> str:
        """The key agreement that was negotiated."""
        return self._connection.get_group_name() or "unknown"

    def suite(self) -> str:
        """TLS's own suite, which protects the control connection."""
        return self._connection.get_cipher_name() or "unknown"

    def peer_chain(self) -> tuple[bytes, ...]:
        """The chain by which the peer was trusted, in DER. The first certificate signed the peer's handshake."""
        chain = self._connection.get_verified_chain()
        if not chain:
            raise HandshakeRefused(Refusal.NO_CERTIFICATE, "The peer showed no certificate.")
        return tuple(dump_certificate(FILETYPE_ASN1, certificate) for certificate in chain)

    def _shown(self) -> Shown | None:
        """The leaf of the chain that OpenSSL had put together when it refused it."""
        chain = self._connection.get_verified_chain() or []
        return shown_of([dump_certificate(FILETYPE_ASN1, certificate) for certificate in chain])

    def _refused(self, error: SSL.Error) -> HandshakeRefused:
        if isinstance(error, SSL.SysCallError):
            return HandshakeRefused("closed", "The peer broke the connection off.")
        words = _words(error)
        if "certificate verify failed" in words:
            reason = _VERIFY_REASONS.get(verify_error(self._connection), Refusal.OTHER)
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


# Parts of OpenSSL's texts, most telling first.
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
    """A certificate as its hash is taken over."""
    return certificate.public_bytes(Encoding.DER)
