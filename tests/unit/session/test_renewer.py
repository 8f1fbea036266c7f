"""A renewal of a session between two edges, whose answer arrives or is lost (protocol, 9.9)."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.dataplane import events
from pcgrelay.identity.credentials import Credentials
from pcgrelay.identity.renewal import Schedule
from pcgrelay.identity.tls import make_context
from pcgrelay.log.events import RenewalFailed, SessionRenewed
from pcgrelay.model import NodeId, Suite
from pcgrelay.session.renewer import Renewer
from pcgrelay.session.session import Key, Session, State
from tests.support.handshake_sides import EDGE_ID, KENT, credentials_of, terms_of
from tests.support.pki import REALM, RealmPki

OTHER_ID = NodeId(REALM, KENT, "kent-2")
NUMBER, HOUR_MS, DEADLINE_MS = 7, 3_600_000, 3_000


class Side:
    """One edge: its renewer, its one session, and what it asked of the core."""

    def __init__(self, me: NodeId, peer: NodeId, credentials: Credentials, *, initiator: bool) -> None:
        self.end: Any = SimpleNamespace(on_carry=None)
        self.other: Side
        self.loses = False  # what it carries from now on is lost
        self.mixed: list[int] = []
        self.logged: list[Any] = []
        self.counts: Counter[str] = Counter()
        self.tasks: list[asyncio.Task[None]] = []
        self.session = Session(bytes(16), Key(peer, 1), initiator, 0, state=State.UP, number=NUMBER, flows=2)
        self.session.suite, self.session.path, self.session.schedule = Suite.AES_256_GCM, self.end, Schedule(0)
        local = SimpleNamespace(
            context=make_context(credentials, post_quantum_required=True),
            session_parameters=lambda *_: terms_of(me, credentials, session=bytes(16)),
            standing_refusal=lambda *_: None,
            config=SimpleNamespace(
                policy=SimpleNamespace(
                    handshake_deadline_ms=DEADLINE_MS, renewal_age_s=10 * HOUR_MS, renewal_interval_s=1
                )
            ),
        )
        plane = SimpleNamespace(
            session_renew=lambda number, **_: None,
            session_mix=lambda number, mix: self.mixed.append(mix),
            session_has_stepped=lambda *_: True,
        )
        table = SimpleNamespace(count=lambda reason: self.counts.update([reason]), spawn=self._spawn)
        clock = SimpleNamespace(monotonic_ms=lambda: HOUR_MS)
        self.renewer = Renewer(table, plane, local, self.logged.append, clock)  # type: ignore[arg-type]
        self.renewer.paths = SimpleNamespace(carry=self._carry)  # type: ignore[assignment]
        self.renewer.listen(self.session, self.end)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.tasks.append(asyncio.get_running_loop().create_task(work))

    def _carry(self, end: Any, data: bytes) -> None:
        if data and not self.loses:
            asyncio.get_running_loop().call_soon(self.other.end.on_carry, data)

    def begin(self) -> None:
        self.renewer.renew([self.session])

    def core_says(self, event: events.SessionRenewed | events.SessionAgreed) -> None:
        self.renewer.handlers({NUMBER: self.session})[type(event)](event)

    @property
    def generation(self) -> int:
        return self.session.generation


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> tuple[Credentials, Credentials]:
    realm = RealmPki(tmp_path_factory.mktemp("realm"))
    return credentials_of(realm.issue(KENT, "kent-1")), credentials_of(realm.issue(KENT, "kent-2"))


@pytest.fixture
def sides(credentials: tuple[Credentials, Credentials]) -> tuple[Side, Side]:
    initiator = Side(EDGE_ID, OTHER_ID, credentials[0], initiator=True)
    responder = Side(OTHER_ID, EDGE_ID, credentials[1], initiator=False)
    initiator.other, responder.other = responder, initiator
    return initiator, responder


async def settled() -> None:
    """Everything that is carried has arrived."""
    for _ in range(50):
        await asyncio.sleep(0)


async def renewed_unheard(initiator: Side, responder: Side, mix: int = 1) -> None:
    """Both keep a renewal, and the responder's RENEWED is lost."""
    initiator.begin()
    await settled()
    responder.loses = True
    for side in (initiator, responder):
        side.core_says(events.SessionRenewed(NUMBER, mix))
    await settled()
    responder.loses = False
    assert (responder.generation, responder.mixed) == (mix, [mix])
    assert (initiator.generation, initiator.session.attempted, initiator.mixed) == (0, mix, [])


def kinds(side: Side) -> list[type]:
    return [type(each) for each in side.logged]


async def test_a_renewal_whose_answer_arrives(sides: tuple[Side, Side]) -> None:
    initiator, _ = sides
    initiator.begin()
    await settled()
    for side in sides:
        side.core_says(events.SessionRenewed(NUMBER, 1))
    await settled()
    assert [(side.generation, side.mixed, kinds(side)) for side in sides] == 2 * [(1, [1], [SessionRenewed])]
    # The step with it is no news.
    initiator.core_says(events.SessionAgreed(NUMBER, 1))
    assert (initiator.generation, initiator.mixed) == (1, [1])


async def test_the_responders_step_is_the_answer_that_is_lost(sides: tuple[Side, Side]) -> None:
    """At once for the core, on all workers; the attempt succeeds at its deadline, as its answer may still come."""
    initiator, responder = sides
    await renewed_unheard(initiator, responder)
    for _ in range(2):  # each worker says it
        initiator.core_says(events.SessionAgreed(NUMBER, 1))
    assert (initiator.generation, initiator.mixed) == (1, [1])
    assert initiator.logged == []
    await asyncio.gather(*initiator.tasks)
    assert kinds(initiator) == [SessionRenewed]
    assert initiator.session.schedule is not None
    assert initiator.session.schedule.age_ms(HOUR_MS) == 0
    assert initiator.counts == {}


async def test_the_step_may_come_after_the_attempt_was_given_up(sides: tuple[Side, Side]) -> None:
    """It says what is agreed, and no more: the certificates are judged anew by the next attempt."""
    initiator, responder = sides
    await renewed_unheard(initiator, responder)
    await asyncio.gather(*initiator.tasks)
    assert kinds(initiator) == [RenewalFailed]
    assert initiator.counts == {"deadline": 1}
    initiator.core_says(events.SessionAgreed(NUMBER, 1))
    assert (initiator.generation, initiator.mixed) == (1, [1])
    assert initiator.session.schedule is not None
    assert initiator.session.schedule.age_ms(HOUR_MS) == HOUR_MS
    assert kinds(initiator) == [RenewalFailed]


async def test_no_step_agrees_on_anything_for_a_responder(sides: tuple[Side, Side]) -> None:
    _, responder = sides
    responder.core_says(events.SessionAgreed(NUMBER, 3))
    assert (responder.generation, responder.mixed) == (0, [])


async def test_an_unknown_session_is_nobodys(sides: tuple[Side, Side]) -> None:
    initiator, _ = sides
    for event in (events.SessionAgreed(NUMBER + 1, 1), events.SessionRenewed(NUMBER + 1, 1)):
        initiator.core_says(event)
    assert initiator.generation == 0
