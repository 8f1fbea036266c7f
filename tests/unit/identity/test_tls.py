"""The TLS profile and the chains that come outside a handshake."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import msgspec
import pytest
from cryptography import x509
from OpenSSL import SSL

from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.pyopenssl import set_groups
from pcgrelay.identity.tls import HandshakeRefused, TlsDriver, chain_refusal, leaf_der, make_context, make_store
from pcgrelay.model import Role
from pcgrelay.realm.bundle import Envelope
from tests.support.handshake_sides import EDGE_ID, HUB, KENT, RELAY_ID, credentials_of, met, side, terms_of
from tests.support.pki import REALM, RealmPki, chain_in_ber

REGRESSIONS = Path(__file__).resolve().parents[2] / "fuzz" / "regressions"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def pair(realm: RealmPki) -> tuple[Credentials, Credentials]:
    return credentials_of(realm.issue(KENT, "kent-1")), credentials_of(realm.issue(HUB, "relay-1"))


def connect(pair: tuple[Credentials, Credentials], required: bool = True) -> tuple[TlsDriver, TlsDriver]:
    contexts = [make_context(credentials, post_quantum_required=required) for credentials in pair]
    client, server = TlsDriver(contexts[0], client=True), TlsDriver(contexts[1], client=False)
    for _ in range(4):
        client.handshake()
        server.feed(client.take())
        server.handshake()
        client.feed(server.take())
    return client, server


@pytest.mark.parametrize("required", [True, False])
def test_profile(pair: tuple[Credentials, Credentials], required: bool) -> None:
    client, server = connect(pair, required)
    for driver in (client, server):
        assert driver.group() == "X25519MLKEM768"
        assert driver.suite() == "TLS_AES_256_GCM_SHA384"
        assert driver.connection.get_protocol_version_name() == "TLSv1.3"
    assert server.peer_chain() == tuple(leaf_der(each) for each in (pair[0].leaf, *pair[0].trust))
    assert client.peer_chain()[0] == leaf_der(pair[1].leaf)


def test_no_callback_is_set(pair: tuple[Credentials, Credentials]) -> None:
    context = make_context(pair[0], post_quantum_required=True)
    assert context._verify_helper is None
    assert context._alpn_select_helper is None
    assert context._info_callback is None


@pytest.mark.parametrize("size", [1, 16_384, 16_385, 200_000])
def test_data_both_ways(pair: tuple[Credentials, Credentials], size: int) -> None:
    client, server = connect(pair)
    data = bytes(range(256)) * (size // 256 + 1)
    client.write(data[:size])
    server.feed(client.take())
    assert server.read() == data[:size]
    assert server.read() == b""


def test_a_flipped_bit_ends_it(pair: tuple[Credentials, Credentials]) -> None:
    client, server = connect(pair)
    client.write(b"hello")
    sealed = bytearray(client.take())
    sealed[-1] ^= 1
    server.feed(bytes(sealed))
    with pytest.raises(HandshakeRefused) as caught:
        server.read()
    assert caught.value.reason == "tls_error"


def test_an_unknown_group_is_refused(pair: tuple[Credentials, Credentials]) -> None:
    with pytest.raises(ValueError, match="knows no group"):
        set_groups(SSL.Context(SSL.TLS_METHOD), "no-such-group")


def test_a_key_of_another_certificate_is_refused(pair: tuple[Credentials, Credentials]) -> None:
    mixed = Credentials(chain=pair[0].chain, key=pair[1].key, trust=pair[0].trust, crls=())
    with pytest.raises(SSL.Error):
        make_context(mixed, post_quantum_required=True)


def test_chains_outside_a_handshake(realm: RealmPki, pair: tuple[Credentials, Credentials]) -> None:
    revoked = credentials_of(realm.issue(KENT, "kent-r", revoked=True))
    store = make_store(revoked)
    assert chain_refusal(store, pair[0].chain) is None
    assert chain_refusal(store, revoked.chain) == "revoked"
    assert chain_refusal(store, credentials_of(realm.issue(KENT, "kent-e", expired=True)).chain) == "expired"
    assert chain_refusal(store, credentials_of(realm.issue(KENT, "kent-w", wrong_ca=True)).chain) == "unknown_issuer"


def test_without_a_list_nobody_is_revoked(realm: RealmPki) -> None:
    revoked = credentials_of(realm.issue(KENT, "kent-s", revoked=True), crl=False)
    assert chain_refusal(make_store(revoked), revoked.chain) is None


def test_a_chain_that_only_openssl_can_read_is_refused(tmp_path: Path, pair: tuple[Credentials, Credentials]) -> None:
    """An organisation with a CA of its own may make such a thing, and TLS itself is content with it."""
    chain, key = chain_in_ber(f"spiffe://{REALM}/org/{KENT}/node/kent-1")
    context = make_context(pair[0], post_quantum_required=True)
    path = tmp_path / "chain.pem"
    path.write_text("".join(DER_cert_to_PEM_cert(each) for each in chain[:2]))
    context.use_certificate_chain_file(str(path))
    context.use_privatekey(key)
    trust = (*pair[0].trust, x509.load_der_x509_certificate(chain[2]))
    accepting = make_context(replace(pair[1], trust=trust, crls=()), post_quantum_required=True)
    client = side(pair[0], terms_of(EDGE_ID, pair[0], leaf=chain[0]), client=True, context=context)
    server = side(pair[1], terms_of(RELAY_ID, pair[1], Role.RELAY), client=False, context=accepting)
    refused = met(client, server)[1].refused
    assert refused is not None
    assert refused.reason == "malformed"
    assert "above the peer's" in str(refused)
    assert server.tls.peer_chain()[0] == chain[0]


def test_a_chain_that_openssl_alone_cannot_read_is_refused(pair: tuple[Credentials, Credentials]) -> None:
    """Whoever signs what outlasts a connection may show such a thing; found by fuzzing of bundles."""
    data = (REGRESSIONS / "bundle" / "certificate_that_openssl_alone_refuses").read_bytes()
    found = x509.load_der_x509_certificate(unsigned_chain(data)[0])
    assert chain_refusal(make_store(pair[0]), [found]) == "malformed"
    assert chain_refusal(make_store(pair[0]), [*pair[0].chain, found]) == "malformed"


def unsigned_chain(bundle: bytes) -> tuple[bytes, ...]:
    return msgspec.msgpack.decode(bundle, type=Envelope).chain
