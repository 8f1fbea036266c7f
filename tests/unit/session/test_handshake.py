"""A handshake carried over a path: it frees TLS and its keys when it ends, however it ends."""

from __future__ import annotations

import gc
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.exporter import Purpose
from pcgrelay.identity.handshake import Handshake, HandshakeResult, Judge
from pcgrelay.identity.renewal import Renewal
from pcgrelay.identity.tls import HandshakeRefused, make_context
from pcgrelay.model import NodeId, Suite
from pcgrelay.session.handshake import SessionHandshake
from pcgrelay.session.renewer import Attempt, Renewer
from pcgrelay.session.session import Key, Session
from tests.support.handshake_sides import EDGE_ID, KENT, credentials_of, everybody, terms_of
from tests.support.pki import REALM, RealmPki

OTHER_ID = NodeId(REALM, KENT, "kent-2")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Credentials, Credentials]:
    realm = RealmPki(tmp_path_factory.mktemp("realm"))
    return credentials_of(realm.issue(KENT, "kent-1")), credentials_of(realm.issue(KENT, "kent-2"))


@pytest.fixture
def _no_collection() -> Iterator[None]:
    """What is freed here is freed because nothing refers to it any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Path:
    """Carries between two ends in memory, in order."""

    def __init__(self) -> None:
        self.ends = [SimpleNamespace(initiator=each, on_carry=None, on_closed=None) for each in (True, False)]
        self._under_way: deque[tuple[Any, bytes]] = deque()

    def carry(self, end: Any, data: bytes) -> None:
        if data:
            self._under_way.append((end, data))

    def deliver(self) -> None:
        while self._under_way:
            end, data = self._under_way.popleft()
            other = self.ends[1 if end is self.ends[0] else 0]
            if other.on_carry is not None:
                other.on_carry(data)


def stranger(peer: NodeId) -> str | None:
    return "unexpected_identity"


def broken(result: HandshakeResult) -> None:
    raise KeyError("the core")


@pytest.mark.usefixtures("_no_collection")
@pytest.mark.parametrize(
    ("judge", "ready", "reason"),
    [
        (everybody, lambda result: None, ""),
        (stranger, lambda result: None, "unexpected_identity"),
        (everybody, broken, "'the core'"),
    ],
)
async def test_tls_is_freed_when_it_ends(
    pair: tuple[Credentials, Credentials], judge: Judge, ready: Callable[[HandshakeResult], None], reason: str
) -> None:
    path = Path()
    sides = []
    for end, me, credentials in zip(path.ends, (EDGE_ID, OTHER_ID), pair, strict=True):
        context = make_context(credentials, post_quantum_required=True)
        terms = terms_of(me, credentials, session=bytes(16))
        # The responder is the one to refuse.
        mine = (everybody, lambda result: None) if end.initiator else (judge, ready)
        sides.append(SessionHandshake(path, end, context, terms, *mine))  # type: ignore[arg-type]
    connections = [weakref.ref(each._handshake.tls.connection) for each in sides if each._handshake]
    assert len(connections) == 2
    sides[0].start()
    path.deliver()
    if reason:
        assert getattr(sides[1].done.exception(), "reason", str(sides[1].done.exception())) == reason
    else:
        assert [each.done.result() for each in sides] == [None, None]
    assert connections[1]() is None
    sides[0].abandon()
    assert connections[0]() is None
    for each in sides:
        # asyncio complains of an exception that nobody asks for.
        assert not each.done.done() or bool(each.done.exception()) == bool(reason)


@pytest.mark.usefixtures("_no_collection")
async def test_tls_of_a_renewal_that_was_refused_is_freed(pair: tuple[Credentials, Credentials]) -> None:
    context = make_context(pair[0], post_quantum_required=True)
    terms = terms_of(EDGE_ID, pair[0], session=bytes(16))
    renewal = Renewal(OTHER_ID, Suite.AES_256_GCM, 1)
    handshake = Handshake(
        context, terms, client=True, purpose=Purpose.SESSION_RENEWAL, judge=everybody, renewal=renewal
    )
    connection = weakref.ref(handshake.tls.connection)
    end: Any = Path().ends[0]
    attempt = Attempt(handshake, end, 0, lambda result: None)
    del handshake
    attempt.start()
    with pytest.raises(HandshakeRefused) as refused:
        attempt.take(b"no TLS")
    session = Session(bytes(16), Key(OTHER_ID, 1), True, 0)
    renewer: Any = SimpleNamespace(_attempts={session: attempt})
    Renewer._failed(renewer, session, refused.value)
    del attempt, refused
    assert connection() is None
