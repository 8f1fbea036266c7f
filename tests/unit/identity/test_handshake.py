"""Who is let in and who is not: every way to be refused, and what both sides agree on when nobody is."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from contextlib import suppress

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from pcgrelay.identity import handshake as handshake_module
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake, HandshakeParameters
from pcgrelay.identity.pyopenssl import set_groups, was_resumed
from pcgrelay.identity.tls import HandshakeRefused, TlsDriver, make_context
from pcgrelay.messages import Beat, encode_message
from pcgrelay.model import NodeId, Role, Suite
from tests.support.handshake_sides import (
    EDGE_ID,
    HUB,
    KENT,
    RELAY_ID,
    credentials_of,
    met,
    side,
    terms_of,
)
from tests.support.pki import REALM, Files, RealmPki


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def relay(realm: RealmPki) -> Credentials:
    return credentials_of(realm.issue(HUB, "relay-1"))


@pytest.fixture(scope="module")
def edge(realm: RealmPki) -> Credentials:
    return credentials_of(realm.issue(KENT, "kent-1"))


@pytest.fixture
def server(relay: Credentials) -> Handshake:
    return side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False)


def client_of(credentials: Credentials, **changes: object) -> Handshake:
    return side(credentials, terms_of(EDGE_ID, credentials, **changes), client=True)


@pytest.mark.parametrize("step", [1 << 20, 700, 1])
def test_both_agree(edge: Credentials, relay: Credentials, server: Handshake, step: int) -> None:
    mine, theirs = met(client_of(edge), server, step)
    assert mine.established
    assert theirs.established
    assert mine.established.secret == theirs.established.secret
    assert mine.established.binding == theirs.established.binding
    assert mine.established.link_id == theirs.established.link_id
    assert (mine.established.peer, theirs.established.peer) == (RELAY_ID, EDGE_ID)
    assert mine.established.group == theirs.established.group == "X25519MLKEM768"
    assert mine.established.suite is Suite.AES_256_GCM
    assert mine.established.peer_role is Role.RELAY


def test_a_handshake_is_freed_when_it_is_dropped(edge: Credentials, relay: Credentials) -> None:
    """TLS with its keys, some tens of kilobytes, must not wait for the collector."""
    gc.collect()
    gc.disable()
    try:
        both = [client_of(edge), side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False)]
        connections = [weakref.ref(each.tls.connection) for each in both]
        assert all(outcome.established for outcome in met(*both))
        both.clear()
        assert [each() for each in connections] == [None, None]
    finally:
        gc.enable()


def test_each_handshake_has_a_secret_of_its_own(edge: Credentials, relay: Credentials) -> None:
    secrets = set()
    for _ in range(3):
        mine, _ = met(client_of(edge), side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False))
        assert mine.established
        secrets.add(bytes(mine.established.secret))
    assert len(secrets) == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"wrong_ca": True}, "unknown_issuer"),
        ({"expired": True}, "expired"),
        ({"not_yet_valid": True}, "not_yet_valid"),
        ({"revoked": True}, "revoked"),
        ({"no_san": True}, "no_spiffe_san"),
        ({"two_sans": True}, "two_sans"),
        ({"uris": ["spiffe://other.example/org/kent.police.example/node/kent-1"]}, "wrong_realm"),
        ({"uris": ["spiffe://police.example/kent"]}, "malformed"),
        ({"uris": ["https://kent.police.example/"]}, "no_spiffe_san"),
    ],
)
def test_a_certificate_that_is_not_right_is_refused(
    realm: RealmPki, relay: Credentials, changes: dict[str, object], reason: str
) -> None:
    into = f"odd-{reason}-{len(str(changes))}"
    files = realm.issue(KENT, f"node-{reason.replace('_', '-')}", into=into, **changes)  # type: ignore[arg-type]
    # The relay loads the list again, for it may have grown.
    own = realm.folder / f"relay-1.{HUB}"
    fresh = credentials_of(Files(own / "relay-1.pem", own / "relay-1.key", realm.trust, realm.crl))
    odd = credentials_of(files)
    for odd_is_client in (True, False):
        odd_side = side(odd, terms_of(EDGE_ID, odd), client=odd_is_client)
        good = side(fresh, terms_of(RELAY_ID, fresh, Role.RELAY), client=not odd_is_client)
        pair = (odd_side, good) if odd_is_client else (good, odd_side)
        outcomes = met(*pair)
        assert outcomes[1 if odd_is_client else 0].reason == reason
        assert not outcomes[1 if odd_is_client else 0].established


def test_no_certificate(edge: Credentials, server: Handshake) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    set_groups(context, "X25519MLKEM768")
    _, theirs = met(side(edge, terms_of(EDGE_ID, edge), client=True, context=context), server)
    assert theirs.reason == "no_certificate"


def test_tls_1_2(edge: Credentials, server: Handshake) -> None:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(edge.leaf)
    context.use_privatekey(edge.key)  # type: ignore[arg-type]
    _, theirs = met(side(edge, terms_of(EDGE_ID, edge), client=True, context=context), server)
    assert theirs.reason == "tls_version"


@pytest.mark.parametrize("groups", ["X25519", "P-256", "X25519:P-256:P-384"])
def test_classical_groups_alone_are_refused_on_demand(edge: Credentials, server: Handshake, groups: str) -> None:
    fresh = SSL.Context(SSL.TLS_METHOD)
    set_groups(fresh, groups)
    fresh.use_certificate(edge.leaf)
    fresh.use_privatekey(edge.key)  # type: ignore[arg-type]
    _, theirs = met(side(edge, terms_of(EDGE_ID, edge), client=True, context=fresh), server)
    assert theirs.reason == "group"


def test_a_classical_group_that_came_about_all_the_same_is_refused(edge: Credentials, relay: Credentials) -> None:
    """Even if the list of groups were set wrongly, what was negotiated is looked at."""
    loose = make_context(relay, post_quantum_required=False)
    server = side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False, context=loose)
    classical = SSL.Context(SSL.TLS_METHOD)
    set_groups(classical, "X25519")
    classical.use_certificate(edge.leaf)
    classical.use_privatekey(edge.key)  # type: ignore[arg-type]
    _, theirs = met(side(edge, terms_of(EDGE_ID, edge), client=True, context=classical), server)
    assert theirs.reason == "group"


def test_without_the_demand_a_classical_group_will_do(edge: Credentials, relay: Credentials) -> None:
    server = side(relay, terms_of(RELAY_ID, relay, Role.RELAY, post_quantum_required=False), client=False)
    context = make_context(edge, post_quantum_required=False)
    client = side(edge, terms_of(EDGE_ID, edge, post_quantum_required=False), client=True, context=context)
    mine, theirs = met(client, server)
    assert mine.established
    assert theirs.established
    assert mine.established.group == "X25519MLKEM768"


def tls_only(client: TlsDriver, server: TlsDriver) -> None:
    for _ in range(6):
        client.handshake()
        server.feed(client.take())
        server.handshake()
        client.feed(server.take())


def plain_context(credentials: Credentials) -> SSL.Context:
    """A peer that keeps sessions, as most programs do."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_session_cache_mode(SSL.SESS_CACHE_BOTH)
    set_groups(context, "X25519MLKEM768")
    context.use_certificate(credentials.leaf)
    context.use_privatekey(credentials.key)  # type: ignore[arg-type]
    return context


def resumes(client_context: SSL.Context, server_context: SSL.Context) -> bool:
    """Whether a second connection that offers the first one's session gets round the certificates."""
    client, server = TlsDriver(client_context, client=True), TlsDriver(server_context, client=False)
    tls_only(client, server)
    server.write(b"x")
    client.feed(server.take())
    assert client.read() == b"x"
    session = client.connection.get_session()
    assert session is not None
    again, other = TlsDriver(client_context, client=True), TlsDriver(server_context, client=False)
    again.connection.set_session(session)
    try:
        tls_only(again, other)
    except HandshakeRefused as refused:
        # The careless server is refused by our own check.
        return refused.reason == "resumed"
    assert other.peer_chain()
    return was_resumed(again.connection) or was_resumed(other.connection)


@pytest.mark.parametrize("tickets", [True, False])
def test_a_session_is_never_resumed(edge: Credentials, relay: Credentials, tickets: bool) -> None:
    """By ticket or by the server's memory: the second handshake shows certificates again."""
    client_context = plain_context(edge)
    if not tickets:
        client_context.set_options(SSL.OP_NO_TICKET)
    assert not resumes(client_context, make_context(relay, post_quantum_required=True))


def test_what_the_last_test_tries_works_on_a_careless_server(edge: Credentials, relay: Credentials) -> None:
    careless = plain_context(relay)
    careless.set_session_id(b"careless")
    assert resumes(plain_context(edge), careless)


def test_a_resumed_handshake_would_be_refused(
    edge: Credentials, server: Handshake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flags prevent resumption; should they ever fail, the handshake does."""
    monkeypatch.setattr("pcgrelay.identity.tls.was_resumed", lambda connection: True)
    mine, theirs = met(client_of(edge), server)
    assert mine.reason == "resumed"
    assert not theirs.established


def test_an_identity_in_a_filler_certificate_is_not_read(realm: RealmPki, relay: Credentials) -> None:
    """The chain may hold anything; only the leaf that signed says who it is."""
    nobody = realm.issue(KENT, "nobody", into="filler", no_san=True)
    other = realm.issue(KENT, "kent-7", into="filler-other")
    odd = credentials_of(nobody)
    stuffed = dataclasses.replace(odd, chain=(odd.leaf, other.leaf, realm.ca_certificate))
    _, theirs = met(client_of(stuffed), side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False))
    assert theirs.reason == "no_spiffe_san"


def test_a_filler_certificate_changes_no_identity(realm: RealmPki, edge: Credentials, server: Handshake) -> None:
    other = realm.issue(KENT, "kent-8", into="filler-8")
    stuffed = dataclasses.replace(edge, chain=(edge.leaf, other.leaf))
    _, theirs = met(client_of(stuffed), server)
    assert theirs.established
    assert theirs.established.peer == EDGE_ID


def test_who_is_judged_unfit_is_told_a_code_only(edge: Credentials, relay: Credentials) -> None:
    judged: list[NodeId] = []

    def judge(peer: NodeId) -> str | None:
        judged.append(peer)
        return "not_a_member"

    server = side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False, judge=judge)
    mine, theirs = met(client_of(edge), server)
    assert judged == [EDGE_ID]
    assert theirs.reason == "not_a_member"
    assert mine.reason == "peer_refused"
    assert "member" not in str(mine.refused)


def test_a_relay_that_may_be_none_is_told_so(edge: Credentials, relay: Credentials) -> None:
    """The role is in HELLO, so it is judged after the identity, on whichever side."""
    strict = terms_of(EDGE_ID, edge, may_relay=lambda organisation: organisation == KENT)
    for client in (True, False):
        judging = side(edge, strict, client=client)
        judged = side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=not client)
        outcomes = met(judging, judged) if client else met(judged, judging)[::-1]
        assert outcomes[0].reason == "not_a_relay"
        assert outcomes[0].refused is not None
    # An edge of the same organisation is let in.
    mine, theirs = met(side(relay, terms_of(RELAY_ID, relay), client=True), side(edge, strict, client=False))
    assert mine.established
    assert theirs.established


def test_a_hello_that_names_another_node(edge: Credentials, server: Handshake) -> None:
    liar = NodeId(REALM, "met.police.example", "met-1")
    _, theirs = met(side(edge, terms_of(liar, edge), client=True), server)
    assert theirs.reason == "hello"


def test_no_suite_in_common(edge: Credentials, relay: Credentials) -> None:
    server = side(relay, terms_of(RELAY_ID, relay, suites=(Suite.AES_128_GCM,)), client=False)
    mine, theirs = met(client_of(edge, suites=(Suite.AES_256_GCM,)), server)
    assert theirs.reason == "suite"
    assert mine.reason == "peer_refused"


def test_the_clients_order_of_suites_decides(edge: Credentials, server: Handshake) -> None:
    mine, _ = met(client_of(edge, suites=(Suite.CHACHA20_POLY1305, Suite.AES_256_GCM)), server)
    assert mine.established
    assert mine.established.suite is Suite.CHACHA20_POLY1305


def test_another_purpose(edge: Credentials, server: Handshake) -> None:
    _, theirs = met(side(edge, terms_of(EDGE_ID, edge), client=True, purpose=Purpose.SESSION), server)
    assert theirs.reason == "hello"


def test_another_version(edge: Credentials, server: Handshake, monkeypatch: pytest.MonkeyPatch) -> None:
    client = client_of(edge)
    hello = client._hello_of_client()
    monkeypatch.setattr(client, "_hello_of_client", lambda: msgspec.structs.replace(hello, versions=(2, 3)))
    mine, theirs = met(client, server)
    assert theirs.reason == "version"
    assert mine.reason == "peer_refused"


def test_a_newer_client_that_speaks_version_1_too(
    edge: Credentials, server: Handshake, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(edge)
    hello = client._hello_of_client()
    newer = msgspec.structs.replace(hello, versions=(1, 2), features=("quantum-tea",))
    monkeypatch.setattr(client, "_hello_of_client", lambda: newer)
    mine, theirs = met(client, server)
    assert mine.established
    assert theirs.established
    assert mine.established.secret == theirs.established.secret


def test_a_first_message_that_is_no_hello(edge: Credentials, server: Handshake) -> None:
    client = client_of(edge)
    client._said = lambda hello: (client.tls.write(encode_message(Beat(1, False))), (hello, b""))[1]  # type: ignore[method-assign]
    _, theirs = met(client, server)
    assert theirs.reason == "hello"


UNKNOWN = b"\x00\x00\x00\x02\x91\x63"  # a message of kind 99


@pytest.mark.parametrize("hello_too", [False, True])
def test_a_first_message_of_an_unknown_kind(edge: Credentials, server: Handshake, hello_too: bool) -> None:
    client = client_of(edge)
    said = client._said

    def junk(hello: handshake_module.Hello) -> tuple[handshake_module.Hello, bytes]:
        client.tls.write(UNKNOWN)
        return said(hello) if hello_too else (hello, b"")

    client._said = junk  # type: ignore[method-assign]
    mine, theirs = met(client, server)
    assert theirs.reason == "hello"
    assert mine.reason == "peer_refused"


def test_a_message_of_an_unknown_kind_after_hello_is_ignored(edge: Credentials, server: Handshake) -> None:
    client = client_of(edge)
    said = client._said

    def more(hello: handshake_module.Hello) -> tuple[handshake_module.Hello, bytes]:
        answer = said(hello)
        client.tls.write(UNKNOWN)
        return answer

    client._said = more  # type: ignore[method-assign]
    mine, theirs = met(client, server)
    assert mine.established
    assert theirs.established
    assert server.reader.unknown_total == 1


def test_a_client_that_says_more_than_hello(edge: Credentials, server: Handshake) -> None:
    client = client_of(edge)
    said = client._said

    def more(hello: handshake_module.Hello) -> tuple[handshake_module.Hello, bytes]:
        answer = said(hello)
        client.tls.write(encode_message(Beat(1, False)))
        return answer

    client._said = more  # type: ignore[method-assign]
    _, theirs = met(client, server)
    assert theirs.reason == "hello"


def test_a_server_that_goes_on_behind_its_hello(edge: Credentials, server: Handshake) -> None:
    """To the server the link stands already: what it says next is kept for the link, in order."""
    client = client_of(edge)
    said = server._said

    def more(hello: handshake_module.Hello) -> tuple[handshake_module.Hello, bytes]:
        answer = said(hello)
        server.tls.write(UNKNOWN + encode_message(Beat(1, False)) + encode_message(Beat(2, False)))
        return answer

    server._said = more  # type: ignore[method-assign]
    mine, theirs = met(client, server)
    assert mine.established
    assert theirs.established
    assert mine.established.secret == theirs.established.secret
    kept = [message for message, _ in client.reader.feed(client.tls.read())]
    assert kept == [Beat(1, False), Beat(2, False)]
    assert client.reader.unknown_total == 1


def test_too_many_bytes(server: Handshake) -> None:
    with pytest.raises(Exception, match="more than any handshake needs"):
        server.receive(b"\x16\x03\x01\x40\x00" + bytes(200_000))


@pytest.mark.parametrize(
    "junk", [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" + b"\xff" * 300, b"GET / HTTP/1.0\r\n\r\n"]
)
def test_junk(server: Handshake, junk: bytes) -> None:
    with suppress(HandshakeRefused):
        server.receive(junk)
    assert server.established is None


def test_a_node_does_not_link_to_itself(edge: Credentials) -> None:
    server = side(edge, terms_of(EDGE_ID, edge), client=False)
    mine, _ = met(client_of(edge), server)
    assert mine.reason == "own_identity"


def test_a_swapped_leaf_gives_another_secret(edge: Credentials, relay: Credentials, realm: RealmPki) -> None:
    """Whatever one side believes differently ends up in its context, and the first sealed frame will not open."""
    other = x509.load_pem_x509_certificate(edge.leaf.public_bytes(Encoding.PEM))
    server = side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False)
    wrong: HandshakeParameters = dataclasses.replace(
        terms_of(EDGE_ID, edge), leaf=realm.ca_certificate.public_bytes(Encoding.DER)
    )
    mine, theirs = met(side(edge, wrong, client=True), server)
    assert mine.established
    assert theirs.established
    assert other == edge.leaf
    assert mine.established.secret != theirs.established.secret
    assert mine.established.binding != theirs.established.binding
