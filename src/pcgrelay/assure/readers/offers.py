"""One handshake with a listener of this node: what is offered, and what comes back."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from OpenSSL import SSL

from pcgrelay.assure.facts import REFUSED, TAKEN, UNREACHABLE, Attempt
from pcgrelay.config import Address, Config
from pcgrelay.files import reason_of
from pcgrelay.identity.pyopenssl import set_groups

SOURCE = "127.6.6.6"  # of IPv4 connections, so that a log shows what was a test
CONNECT_S, ANSWER_S = 2.0, 2.0
READ_BYTES = 65_536
# A server that takes a certificate waits for what the peer says next, and one that refuses it says so at once.
PATIENCE_S = 0.7
OLD_VERSIONS = {"TLS 1.0": 0x0301, "TLS 1.1": 0x0302, "TLS 1.2": 0x0303}
# ECDHE with AES-GCM and AES-CBC, and RSA: what clients of these versions offered.
_OLD_SUITES = (0xC02B, 0xC02F, 0xC00A, 0xC009, 0xC014, 0xC013, 0x002F, 0x0035)
_HANDSHAKE, _ALERT = 22, 21
_SIGNATURES, _SIGNATURES_OF_CERTIFICATES = 13, 50  # extensions: signature_algorithms, signature_algorithms_cert


@dataclass(frozen=True, slots=True)
class Listening:
    """A listener of this node that does TLS."""

    key: str  # listen[1]
    address: Address
    is_link: bool  # else: a reader's


def tls_listeners(config: Config) -> list[Listening]:
    """Return all listeners that do TLS: those for links, and those for readers beyond loopback."""
    found = [Listening(f"listen[{number}]", each.address, True) for number, each in enumerate(config.listens, 1)]
    for name, reader in config.readers.items():
        if reader.listen is not None and not reader.is_open:
            found.append(Listening(f"{name}.listen", reader.listen, False))
    return found


def connect_here(address: Address) -> socket.socket:
    """Return a connection to a listener of this machine. OSError: there is none."""
    host = address.host
    if address.is_wildcard:
        host = "::1" if ":" in host else "127.0.0.1"
    family, kind, protocol, _, where = socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(CONNECT_S)
        if family == socket.AF_INET:
            sock.bind((SOURCE, 0))
        sock.connect(where)
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an offer."""

    answer: str
    detail: str
    told_bytes: int = 0


def attempt_of(listening: Listening, offered: str, wanted: bool, offer: Callable[[socket.socket], Answer]) -> Attempt:
    """Make one attempt. It takes some seconds at most."""
    try:
        with connect_here(listening.address) as sock:
            got = offer(sock)
    except OSError as error:
        got = Answer(UNREACHABLE, reason_of(error))
    return Attempt(
        listener=listening.key,
        offered=offered,
        wanted=wanted,
        answer=got.answer,
        detail=got.detail,
        told_bytes=got.told_bytes,
    )


# -- old versions, by hand: an OpenSSL of today may not speak them ---------------------------------------------------


def offer_old(sock: socket.socket, version: int) -> Answer:
    """Send the ClientHello of a client that knows nothing newer than `version`."""
    return _first_answer(sock, old_hello(version))


def _first_answer(sock: socket.socket, hello: bytes) -> Answer:
    """Send a ClientHello, and see by the head of what comes back whether the server goes on."""
    sock.settimeout(ANSWER_S)
    try:
        sock.sendall(hello)
        head = sock.recv(7)
    except TimeoutError:
        return Answer(UNREACHABLE, "no answer")
    except OSError as error:
        return Answer(REFUSED, reason_of(error))
    if not head:
        return Answer(REFUSED, "closed")
    if head[0] == _HANDSHAKE:
        return Answer(TAKEN, "ServerHello")
    if head[0] == _ALERT:
        return Answer(REFUSED, f"alert {head[6]}" if len(head) == 7 else "alert")
    return Answer(UNREACHABLE, "this is not TLS")


def old_hello(version: int) -> bytes:
    """Return a ClientHello (RFC 5246, 7.4.1.2) without supported_versions, as one record."""
    suites = b"".join(struct.pack(">H", each) for each in _OLD_SUITES)
    groups = struct.pack(">HHHHHH", 10, 8, 6, 29, 23, 24)
    points = struct.pack(">HHBB", 11, 2, 1, 0)
    schemes = struct.pack(">HHHHHHH", 13, 10, 8, 0x0403, 0x0804, 0x0401, 0x0203)
    extensions = groups + points + schemes
    body = struct.pack(">H", version) + os.urandom(32) + b"\0"
    body += struct.pack(">H", len(suites)) + suites + b"\1\0" + struct.pack(">H", len(extensions)) + extensions
    message = b"\1" + len(body).to_bytes(3, "big") + body
    return struct.pack(">BHH", _HANDSHAKE, 0x0301, len(message)) + message


# -- signatures: pyOpenSSL cannot restrict them, so the offer is rewritten on its way ------------------------------


def offer_signatures(sock: socket.socket, context: SSL.Context, schemes: Sequence[int]) -> Answer:
    """Offer these signature schemes alone (RFC 8446, 4.2.3), and see whether the server can sign with one of them.

    A server chooses its signature before it answers, so its first answer tells; the handshake goes no further, because
    this side signed what it sent before it was rewritten. ValueError: the offer cannot be rewritten.
    """
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    try:
        connection.do_handshake()
    except SSL.WantReadError:
        pass
    return _first_answer(sock, with_signatures(connection.bio_read(READ_BYTES), schemes))


def with_signatures(record: bytes, schemes: Sequence[int]) -> bytes:
    """Return a ClientHello, one record (RFC 8446, 4.1.2), with other schemes. ValueError: it is none."""
    if len(record) < 44 or record[0] != _HANDSHAKE or record[5] != 1 or len(record) - 5 != _number(record, 3):
        raise ValueError("this is no ClientHello in one record")
    at = 43 + 1 + record[43]  # behind version, random and session id
    at += 2 + _number(record, at)  # suites
    at += 1 + record[at]  # compression
    kept, left = b"", record[at + 2 :]
    while left:
        size = 4 + _number(left, 2)
        if _number(left, 0) not in (_SIGNATURES, _SIGNATURES_OF_CERTIFICATES):
            kept += left[:size]
        left = left[size:]
    listed = b"".join(struct.pack(">H", each) for each in schemes)
    kept = struct.pack(">HHH", _SIGNATURES, len(listed) + 2, len(listed)) + listed + kept
    message = record[9:at] + struct.pack(">H", len(kept)) + kept
    return record[:3] + struct.pack(">HB", len(message) + 4, 1) + len(message).to_bytes(3, "big") + message


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


# -- TLS 1.3 ---------------------------------------------------------------------------------------------------------


def client_context(groups: str = "", suites: str = "") -> SSL.Context:
    """Make a client's context with these alone; "": OpenSSL's own. ValueError: this OpenSSL does not know one."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    # Bad certificates have small keys too, and this side is not the one that is to refuse them.
    context.set_cipher_list(b"DEFAULT:@SECLEVEL=0")
    context.set_verify(SSL.VERIFY_NONE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if suites:
        try:
            context.set_tls13_ciphersuites(suites.encode())
        except SSL.Error:
            raise ValueError(f"this OpenSSL knows no suite {suites}") from None
    if groups:
        set_groups(context, groups)
    return context


def show(context: SSL.Context, chain: list[x509.Certificate], key: PrivateKeyTypes) -> SSL.Context:
    """Have a context show these certificates, leaf first."""
    context.use_certificate(chain[0])
    for each in chain[1:]:
        context.add_extra_chain_cert(each)
    context.use_privatekey(key)  # type: ignore[arg-type]
    return context


def offer(sock: socket.socket, context: SSL.Context, *, shown: bool = False) -> Answer:
    """Do a handshake. shown: with a certificate, so that TAKEN means that the peer took that; else its own part."""
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    deadline = time.monotonic() + ANSWER_S
    try:
        _driven(sock, connection, deadline)
    except SSL.Error as error:
        return Answer(REFUSED, _words(error))
    except TimeoutError:
        return Answer(UNREACHABLE, "no answer")
    except OSError as error:
        return Answer(REFUSED, reason_of(error))
    told, detail = _heard(sock, connection)
    return Answer(TAKEN if not shown or not detail else REFUSED, detail, told)


def _driven(sock: socket.socket, connection: SSL.Connection, deadline: float) -> None:
    while True:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            _flushed(sock, connection)
            sock.settimeout(max(0.01, deadline - time.monotonic()))
            data = sock.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError(0, "closed") from None
            connection.bio_write(data)
        else:
            _flushed(sock, connection)
            return


def _flushed(sock: socket.socket, connection: SSL.Connection) -> None:
    try:
        while True:
            sock.sendall(connection.bio_read(READ_BYTES))
    except SSL.WantReadError:
        pass


def _heard(sock: socket.socket, connection: SSL.Connection) -> tuple[int, str]:
    """Return the bytes of application data that came, and the alert or the close behind them; "": it waits."""
    told, end = 0, time.monotonic() + PATIENCE_S
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            data = sock.recv(READ_BYTES)
            if not data:
                return told, "closed"
            connection.bio_write(data)
            told += len(connection.recv(READ_BYTES))
        except SSL.WantReadError:
            continue
        except SSL.ZeroReturnError:
            return told, "closed"
        except SSL.Error as error:
            return told, _words(error)
        except TimeoutError:
            break
        except OSError as error:
            return told, reason_of(error)
    return told, ""


def _words(error: SSL.Error) -> str:
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return str(stack[-1][-1]) if stack else "closed"
