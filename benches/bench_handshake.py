"""Full session set-ups: mutual TLS 1.3 with X25519MLKEM768, identities, HELLO and export, both ends in one thread.

Beside it the same TLS handshake by pyOpenSSL alone, with the same certificates: what is left is our own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from OpenSSL import SSL

from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.tls import make_context
from pcgrelay.model import Role
from tests.support.handshake_sides import (  # two sides in memory
    EDGE_ID,
    HUB,
    KENT,
    RELAY_ID,
    credentials_of,
    met,
    side,
    terms_of,
)
from tests.support.pki import RealmPki

AT_ONCE = 5
Pair = tuple[Credentials, Credentials]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    realm = RealmPki(tmp_path_factory.mktemp("realm"))
    return credentials_of(realm.issue(KENT, "kent-1")), credentials_of(realm.issue(HUB, "relay-1"))


def test_session(rounds: Callable[..., None], pair: Pair) -> None:
    edge, relay = pair
    contexts = [make_context(credentials, post_quantum_required=True) for credentials in pair]
    # A node has its own leaf in DER before anybody calls.
    parameters = terms_of(EDGE_ID, edge), terms_of(RELAY_ID, relay, Role.RELAY)

    def run() -> None:
        for _ in range(AT_ONCE):
            # It makes its terms again for each.
            mine, theirs = (replace(each) for each in parameters)
            client = side(edge, mine, client=True, context=contexts[0])
            server = side(relay, theirs, client=False, context=contexts[1])
            assert all(outcome.established for outcome in met(client, server))

    rounds(run, what="session", count=AT_ONCE)


def test_pyopenssl(rounds: Callable[..., None], pair: Pair) -> None:
    contexts = [make_context(credentials, post_quantum_required=True) for credentials in pair]

    def run() -> None:
        for _ in range(AT_ONCE):
            client, server = (SSL.Connection(context) for context in contexts)
            client.set_connect_state()
            server.set_accept_state()
            _shake(client, server)

    rounds(run, what="pyOpenSSL", count=AT_ONCE)


def _shake(client: SSL.Connection, server: SSL.Connection) -> None:
    done: set[int] = set()
    # Three flights and one to spare.
    for _ in range(4):
        for here, there in ((client, server), (server, client)):
            try:
                here.do_handshake()
                done.add(id(here))
            except SSL.WantReadError:
                pass
            try:
                there.bio_write(here.bio_read(1 << 16))
            except SSL.WantReadError:
                pass
        if len(done) == 2:
            return
    raise AssertionError("the handshake does not end")
