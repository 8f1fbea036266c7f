"""What a handshake between two edges agrees on: the class of a session, and the features that both ends list."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pcgrelay.identity import handshake as handshake_module
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake
from pcgrelay.identity.renewal import Renewal
from pcgrelay.identity.tls import make_context
from pcgrelay.messages import Hello
from pcgrelay.model import NodeId, Role, Suite
from tests.support.handshake_sides import (
    EDGE_ID,
    HUB,
    KENT,
    RELAY_ID,
    Outcome,
    credentials_of,
    everybody,
    met,
    side,
    terms_of,
)
from tests.support.pki import REALM, RealmPki


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def relay(realm: RealmPki) -> Credentials:
    return credentials_of(realm.issue(HUB, "relay-1"))


@pytest.fixture(scope="module")
def edge(realm: RealmPki) -> Credentials:
    return credentials_of(realm.issue(KENT, "kent-1"))


def test_session_purpose_asks_for_edges(edge: Credentials, relay: Credentials) -> None:
    server = side(relay, terms_of(RELAY_ID, relay, Role.RELAY), client=False, purpose=Purpose.SESSION, judge=everybody)
    mine, _ = met(side(edge, terms_of(EDGE_ID, edge), client=True, purpose=Purpose.SESSION), server)
    assert mine.reason == "hello"


# -- the class of a session -------------------------------------------------------------------------------------------

CLASS: dict[str, object] = {"session": bytes(range(16)), "marking": 2, "priority": 1}
OLDER: dict[str, object] = {"session": b"", "marking": 0, "priority": 0}


@pytest.fixture(scope="module")
def far(realm: RealmPki) -> Credentials:
    return credentials_of(realm.issue("met.police.example", "met-1"))


def of_session(
    edge: Credentials, far: Credentials, purpose: Purpose, mine: dict[str, object], theirs: dict[str, object]
) -> tuple[Outcome, Outcome]:
    far_id = NodeId(REALM, "met.police.example", "met-1")
    sides = []
    for me, credentials, said in ((EDGE_ID, edge, mine), (far_id, far, theirs)):
        parameters = terms_of(me, credentials, **said)
        context = make_context(credentials, post_quantum_required=True)
        renewal = Renewal(far_id if me == EDGE_ID else EDGE_ID, Suite.AES_256_GCM, 1)
        sides.append(
            Handshake(
                context,
                parameters,
                client=me == EDGE_ID,
                purpose=purpose,
                judge=everybody,
                renewal=renewal if purpose is Purpose.SESSION_RENEWAL else None,
            )
        )
    return met(sides[0], sides[1])


@pytest.mark.parametrize("purpose", [Purpose.SESSION, Purpose.SESSION_RENEWAL])
@pytest.mark.parametrize(
    "changes", [{"session": bytes(16)}, {"session": b"short"}, {"marking": 1}, {"priority": 0}, {"priority": 2}]
)
def test_a_session_has_the_class_and_the_id_of_its_path(
    edge: Credentials, far: Credentials, purpose: Purpose, changes: dict[str, object]
) -> None:
    mine, theirs = of_session(edge, far, purpose, CLASS, {**CLASS, **changes})
    assert theirs.reason == "session_class"
    assert mine.reason == "peer_refused"
    mine, theirs = of_session(edge, far, purpose, CLASS, CLASS)
    assert mine.established
    assert theirs.established
    assert mine.established.secret == theirs.established.secret


@pytest.mark.parametrize("purpose", [Purpose.SESSION, Purpose.SESSION_RENEWAL])
@pytest.mark.parametrize("older", ["client", "server"])
def test_an_older_edge_says_nothing_of_the_class(
    edge: Credentials, far: Credentials, purpose: Purpose, older: str
) -> None:
    sides = (OLDER, CLASS) if older == "client" else (CLASS, OLDER)
    mine, theirs = of_session(edge, far, purpose, *sides)
    assert mine.established
    assert theirs.established
    assert mine.established.secret == theirs.established.secret


@pytest.mark.parametrize("purpose", [Purpose.SESSION, Purpose.SESSION_RENEWAL])
def test_an_older_edge_is_refused_where_markings_are_judged(
    edge: Credentials, far: Credentials, purpose: Purpose
) -> None:
    strict = {**CLASS, "class_required": True}
    mine, theirs = of_session(edge, far, purpose, OLDER, strict)
    assert theirs.reason == "session_class"
    assert mine.reason == "peer_refused"
    mine, _ = of_session(edge, far, purpose, strict, OLDER)
    assert mine.reason == "session_class"
    mine, theirs = of_session(edge, far, purpose, strict, strict)
    assert mine.established
    assert theirs.established


def test_the_class_is_compulsory_between_edges_that_know_it(
    edge: Credentials, far: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feature is listed and the fields are left out."""
    made = Handshake._hello

    def left_out(self: Handshake, **fields: Any) -> Hello:
        return msgspec.structs.replace(made(self, **fields), **(OLDER if self._client else {}))

    monkeypatch.setattr(Handshake, "_hello", left_out)
    _, theirs = of_session(edge, far, Purpose.SESSION, CLASS, CLASS)
    assert theirs.reason == "session_class"


def test_an_older_node_reads_a_hello_with_more_fields(edge: Credentials) -> None:
    """As nodes of before decode it: twelve fields, and whatever comes behind them."""
    known = Hello.__struct_fields__[:12]
    older = msgspec.defstruct("Older", list(known), array_like=True, tag=1)
    parameters = terms_of(EDGE_ID, edge, **CLASS)
    hello = Handshake(
        make_context(edge, post_quantum_required=True),
        parameters,
        client=True,
        purpose=Purpose.SESSION,
        judge=everybody,
    )._hello_of_client()
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(hello), type=older)
    assert [getattr(read, name) for name in ("identity", "nonce")] == [hello.identity, hello.nonce]


@pytest.mark.parametrize("listed", [1, 2])
def test_a_session_has_the_features_that_both_ends_list(
    edge: Credentials, far: Credentials, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = handshake_module.SESSION_FEATURES
    monkeypatch.setattr(Handshake, "_features", lambda self: features if self._client else features[:listed])
    for purpose in (Purpose.SESSION, Purpose.SESSION_RENEWAL):
        found = of_session(edge, far, purpose, CLASS, CLASS)
        assert [each.established and each.established.features for each in found] == 2 * [{*features[:listed]}]
