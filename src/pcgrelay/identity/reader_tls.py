"""TLS 1.3 for those who read over TCP (metrics, the page): Python's own `ssl`, with this node's identity and trust.

Links need an exporter and the negotiated group, which only pyOpenSSL gives; a reader needs neither, and asyncio serves
a socket with `ssl` alone (docs/decisions/0014). `ssl` reads certificates, key and lists from files only, so each of
them is written into memory that has a name for as long as it is read: what counts is what the node has read and
checked, and not what stands on disk by now.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from pcgrelay.errors import ConfigError
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.tls import refusal_of


def reader_context(credentials: Credentials) -> ssl.SSLContext:
    """Return a context for a server that requires a certificate of its clients. ConfigError: `ssl` refuses the files.

    Trust and revocation are those of links: the same anchors, the same lists, and the whole chain where each anchor has
    a list.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # A client that resumed would not be judged by a list that came meanwhile.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        with (
            named(b"".join(each.public_bytes(Encoding.PEM) for each in credentials.chain)) as chain,
            named(credentials.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())) as key,
        ):
            context.load_cert_chain(chain, key)
        with named(b"".join(each.public_bytes(Encoding.PEM) for each in credentials.trust)) as trust:
            context.load_verify_locations(trust)
        if credentials.crls:
            with named(b"".join(each.public_bytes(Encoding.PEM) for each in credentials.crls)) as lists:
                context.load_verify_locations(lists)
            issuers = {crl.issuer for crl in credentials.crls}
            whole = all(anchor.subject in issuers for anchor in credentials.trust)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN if whole else ssl.VERIFY_CRL_CHECK_LEAF
    except ssl.SSLError as error:
        raise ConfigError(f"TLS for [metrics] and [page] does not take the files of [identity] ({error}).") from None
    return context


def reader_refusal(error: Exception) -> str:
    """Return why a handshake failed, in one word, as in refusals."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return refusal_of(error.verify_code)
    if isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no_certificate"
    # uvloop says the one, asyncio the other.
    if isinstance(error, ConnectionAbortedError | TimeoutError):
        return "deadline"
    return "tls_error" if isinstance(error, ssl.SSLError) else "closed"


@contextmanager
def named(content: bytes) -> Iterator[str]:
    """Give memory a name under which `ssl` can open it, and wipe it afterwards."""
    descriptor = os.memfd_create("pcgrelay-reader", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.pwrite(descriptor, bytes(len(content)), 0)
        os.close(descriptor)
