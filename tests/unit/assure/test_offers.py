"""Offers to a listener: what a server that is in order refuses, and what a careless one takes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from pcgrelay.assure.facts import REFUSED, TAKEN, UNREACHABLE
from pcgrelay.assure.parameters import Signature, TlsParameters
from pcgrelay.assure.readers.handshakes import SIGNATURES
from pcgrelay.assure.readers.offers import client_context, offer_signatures, with_signatures
from pcgrelay.config.settings import IdentitySettings
from pcgrelay.identity.credentials import load_credentials
from pcgrelay.identity.tls import TlsDriver, make_context
from tests.support.pki import RealmPki

GROUP = "X25519MLKEM768"
NAMED = TlsParameters().signatures
Serve = Callable[[socket.socket], None]


@contextmanager
def listening(serve: Serve) -> Iterator[socket.socket]:
    """A connection to a server of one connection."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def accept() -> None:
            sock, _ = server.accept()
            with closing(sock), suppress(OSError):
                sock.settimeout(5)
                serve(sock)

        thread = threading.Thread(target=accept)
        thread.start()
        with closing(socket.create_connection(server.getsockname()[:2], timeout=5)) as sock:
            yield sock
        thread.join(5)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Serve:
    """The side of a node that answers, as a node has it."""
    files = RealmPki(tmp_path_factory.mktemp("realm")).issue("kent.police.example", "kent-1")
    settings = IdentitySettings(certificate=files.certificate, key=files.key, trust=files.trust, crl=files.crl)
    context = make_context(load_credentials(settings), post_quantum_required=True)

    def serve(sock: socket.socket) -> None:
        driver = TlsDriver(context, client=False)
        driver.feed(sock.recv(65_536))
        try:
            driver.handshake()
        except Exception as refused:  # what is to be sent then is with the refusal
            sock.sendall(getattr(refused, "farewell", b""))
            return
        sock.sendall(driver.take())

    return serve


def offered(serve: Serve, *names: str) -> str:
    with listening(serve) as sock:
        return offer_signatures(sock, client_context(GROUP), [SIGNATURES[name] for name in names]).answer


def test_a_node_takes_the_profile_and_its_own_scheme(node: Serve) -> None:
    assert offered(node, *NAMED) == TAKEN
    assert offered(node, "ecdsa_secp256r1_sha256") == TAKEN


@pytest.mark.parametrize("name", [name for name in SIGNATURES if name not in NAMED])
def test_a_node_refuses_a_weak_scheme(node: Serve, name: str) -> None:
    assert offered(node, name) == REFUSED


def test_a_server_that_takes_everything_is_found() -> None:
    def careless(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(bytes.fromhex("16030300040200") + bytes(3))

    assert offered(careless, "ecdsa_sha1") == TAKEN


def test_what_is_no_tls_has_not_answered() -> None:
    def other(sock: socket.socket) -> None:
        sock.recv(65_536)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    assert offered(other, "ecdsa_sha1") == UNREACHABLE


def test_another_implementation_reads_what_was_rewritten(tmp_path: Path) -> None:
    """Python's ssl is a server that knows nothing of us: it goes on with a scheme that it has, and not without."""
    files = RealmPki(tmp_path).issue("kent.police.example", "kent-1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)

    def serve(sock: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        incoming.write(sock.recv(65_536))
        with suppress(ssl.SSLError):
            context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
        sock.sendall(outgoing.read())

    def answer(name: str) -> str:
        with listening(serve) as sock:
            return offer_signatures(sock, client_context("X25519"), [SIGNATURES[name]]).answer

    assert answer("ecdsa_secp256r1_sha256") == TAKEN
    assert answer("rsa_pkcs1_sha256") == REFUSED


@pytest.mark.parametrize("data", [b"", b"\x16\x03\x01", bytes(60), b"\x16\x03\x01\x00\x28\x02" + bytes(60)])
def test_what_is_no_client_hello_is_not_rewritten(data: bytes) -> None:
    with pytest.raises(ValueError, match="no ClientHello"):
        with_signatures(data, [0x0403])


def test_a_profile_may_name_what_can_be_offered() -> None:
    assert set(Signature.__args__) == SIGNATURES.keys()  # type: ignore[attr-defined]
