"""Whatever ends an attempt, the next one waits: so many attempts in a minute, and no more, by whatever reason.

A session is tried, mended and moved against a neighbour that ends each attempt in one of many ways, at once. News that
somebody brings all the time makes it no worse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.dataplane.events import SessionDown, SessionResumed, SessionStalled, SessionUp
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.dialled import DialledLink
from pcgrelay.link.dialler import Dialler
from pcgrelay.messages import Code, Message, PathAccept, PathClose, PathOpen, PathRefuse
from pcgrelay.model import NodeId, Suite
from pcgrelay.net.backoff import FORGET_MS, NEWS_AT_ONCE, NEWS_EACH_SECOND, STEADY_MS, Retry
from pcgrelay.path.edge import EdgePaths, PathEnd
from pcgrelay.path.labels import Labels
from pcgrelay.policy.clearances import OPEN
from pcgrelay.session import table as sessions_module
from pcgrelay.session.session import Key, Session, State
from pcgrelay.session.table import Sessions
from tests.support.path_links import ME, OTHER, A, B, FakeLink
from tests.support.virtual_time import VirtualLoop, run_virtually

MINUTE_S = 60.0
# A wait is anywhere up to 3 s, so there are about forty; and news may begin so many more.
ATTEMPTS_MOST = 75 + NEWS_AT_ONCE + round(NEWS_EACH_SECOND * MINUTE_S)
# A session that has lost its way looks for another one more eagerly: the wait is anywhere up to a second.
MENDING_MOST = 2 * ATTEMPTS_MOST
KEY = Key(B, 1)


class Neighbour(FakeLink):
    """A link on which each request for a path is counted, and answered at once."""

    def __init__(self, number: int, peer: NodeId, answer: Callable[[Neighbour, PathOpen], None]) -> None:
        super().__init__(number, peer)
        self.asked: list[PathOpen] = []
        self.has_lanes = self.usable = True
        self.draining = self.replaced = False
        self.probing = SimpleNamespace(round_trip_ms=1.0)
        self.answer = answer
        self.world: World

    def send(self, message: Message) -> None:
        if isinstance(message, PathOpen):
            self.asked.append(message)
            asyncio.get_running_loop().call_soon(self.answer, self, message)

    def says(self, message: Message) -> None:
        self.world.paths.receive(self, message)  # type: ignore[arg-type]

    def accepts(self, asked: PathOpen) -> None:
        self.says(PathAccept(asked.session, asked.flows, asked.cap, asked.label + 1, asked.label))


class World:
    """One edge's sessions over two neighbours; the core and the handshake do as they are told."""

    def __init__(self, loop: VirtualLoop, answer: Callable[[Neighbour, PathOpen], None]) -> None:
        self.loop = loop
        self.links = [Neighbour(1, ME, answer), Neighbour(2, OTHER, answer)]
        self.has_links = True
        self.handshake: Callable[[Session], Exception | None] = lambda session: None
        self.on_path: Callable[[int], None] = lambda number: None
        policy = SimpleNamespace(handshake_deadline_ms=10_000, path_wait_ms=3_600_000)
        node = SimpleNamespace(id=A, lanes=2)
        self.local: Any = SimpleNamespace(config=SimpleNamespace(node=node, policy=policy, links=[]), clearances=OPEN)
        self.said: list[object] = []
        self.sessions = Sessions(
            self.local,
            self,
            self,
            self._choose,
            lambda flows: 1 << 20,
            self.said.append,
            loop,  # type: ignore[arg-type]
        )
        self.paths = EdgePaths(A, Labels(loop), self.sessions)
        self.sessions.attach(self.paths)
        for link in self.links:
            link.world = self

    def _choose(self, key: Key, avoid: object) -> Any:
        if not self.has_links:
            return None
        return next((link for link in self.links if link is not avoid), None)

    @property
    def attempts(self) -> int:
        return sum(len(link.asked) for link in self.links)

    # What the core is asked.

    def session_add(self, number: int, **values: object) -> None:
        """Nothing is kept."""

    def session_close(self, number: int, code: int) -> None:
        """Nothing is kept."""

    def session_path(self, number: int, **values: object) -> None:
        self.loop.call_soon(self.on_path, number)

    # What sessions tell.

    def session_added(self, session: Session) -> None:
        """Nobody is told."""

    def sessions_changed(self, key: Key) -> None:
        """Nobody is told."""

    def path_refused(self, key: Key, link: object, reason: str) -> None:
        """Nothing is kept."""

    def is_barred(self, key: Key) -> bool:
        return False

    def awaits_way(self, key: Key) -> bool:
        return False

    def may_carry(self, session: Session, end: PathEnd) -> bool:
        return True

    def is_shut_out(self) -> bool:
        return False

    def carried(self, session: Session, end: PathEnd) -> Any:
        """A handshake that is over at once."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def start() -> None:
            session.state = State.HANDSHAKE
            error = self.handshake(session)
            if error is not None:
                done.set_exception(error)
                return
            established: Any = SimpleNamespace(
                chain=(), suite=Suite.AES_256_GCM, group="", tls_suite="", secret=bytearray(32), binding=bytes(32),
                flows=2, cap=1 << 20, features=frozenset(),
            )  # fmt: skip
            self.sessions._ready(session, end, established)
            done.set_result(None)

        def path_closed(code: int) -> None:
            if not done.done():
                done.set_exception(HandshakeRefused("path_lost", "The path was lost."))

        end.on_closed = path_closed
        return SimpleNamespace(start=start, done=done)


def refuses(code: int, reason: str) -> Callable[[Neighbour, PathOpen], None]:
    return lambda link, asked: link.says(PathRefuse(asked.session, code, reason, link.peer.uri, asked.label))


def closes(link: Neighbour, asked: PathOpen) -> None:
    link.says(PathClose(asked.session, Code.UNREACHABLE, asked.label))


def accepts(link: Neighbour, asked: PathOpen) -> None:
    link.accepts(asked)


def accepts_and_closes(link: Neighbour, asked: PathOpen) -> None:
    link.accepts(asked)
    asyncio.get_running_loop().call_soon(closes, link, asked)


def answers_nothing(link: Neighbour, asked: PathOpen) -> None:
    """It is only counted."""


def refused_by_handshake(session: Session) -> Exception:
    return HandshakeRefused("unexpected_identity", "It is somebody else.")


def broken(session: Session) -> Exception:
    return RuntimeError("a library does not like it")


def up_and_down_at_once(world: World) -> None:
    def on_path(number: int) -> None:
        world.sessions.core_up(SessionUp(number))
        world.loop.call_soon(world.sessions.core_down, SessionDown(number, Code.REFUSED, "peer_closed", True))

    world.on_path = on_path


def down_before_it_is_up(world: World) -> None:
    world.on_path = lambda number: world.sessions.core_down(SessionDown(number, Code.REFUSED, "peer_closed", True))


def renewal_refused(world: World) -> None:
    """It is up, and then ended from this side."""

    def on_path(number: int) -> None:
        world.sessions.core_up(SessionUp(number))
        session = world.sessions.by_number(number)
        assert session is not None
        world.loop.call_soon(world.sessions.close, session, Code.REFUSED, "unexpected_identity")

    world.on_path = on_path


ENDS: dict[str, tuple[Callable[[Neighbour, PathOpen], None], Callable[[World], None]]] = {
    **{f"refused {code}": (refuses(code, "no"), lambda world: None) for code in range(11)},
    "not a member": (refuses(Code.REFUSED, "not_a_member"), lambda world: None),
    "glare": (refuses(Code.BUSY, "glare"), lambda world: None),
    "closed": (closes, lambda world: None),
    "accepted and closed": (accepts_and_closes, lambda world: setattr(world, "carried", hanging)),
    "no answer": (answers_nothing, lambda world: None),
    "handshake refused": (accepts, lambda world: setattr(world, "handshake", refused_by_handshake)),
    "handshake broken": (accepts, lambda world: setattr(world, "handshake", broken)),
    "the core closes it": (accepts, down_before_it_is_up),
    "up and down": (accepts, up_and_down_at_once),
    "up and ended here": (accepts, renewal_refused),
}


def hanging(session: Session, end: PathEnd) -> Any:
    """A handshake that ends with its path alone."""
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def path_closed(code: int) -> None:
        if not done.done():
            done.set_exception(HandshakeRefused("path_lost", "The path was lost."))

    end.on_closed = path_closed
    return SimpleNamespace(start=lambda: None, done=done)


async def nothing(world: World) -> None:
    """No news."""


async def news(world: World) -> None:
    """The catalogue changes all the time, and applications come all the time."""
    while True:
        world.sessions.kick()
        world.sessions.kick(KEY)
        await asyncio.sleep(0.02)


async def comes_and_goes(world: World) -> None:
    """Who exports is there, and is not, and is."""
    while True:
        world.sessions.want({KEY})
        await asyncio.sleep(0.02)
        world.sessions.want(set())
        await asyncio.sleep(0.01)


def a_minute(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[Neighbour, PathOpen], None],
    prepare: Callable[[World], None],
    meanwhile: Callable[[World], Any],
) -> World:
    loop = VirtualLoop()
    world = World(loop, answer)
    prepare(world)
    monkeypatch.setattr(Sessions, "_carried", lambda self, session, end: world.carried(session, end))
    monkeypatch.setattr(sessions_module, "up_record", lambda *given: None)
    world.local.standing_refusal = lambda *given: None

    async def work() -> None:
        world.sessions.want({KEY})
        beside = asyncio.create_task(meanwhile(world))
        await asyncio.sleep(MINUTE_S)
        beside.cancel()
        with suppress(asyncio.CancelledError):
            await beside

    run_virtually(work(), loop)
    return world


@pytest.mark.parametrize("meanwhile", [nothing, news, comes_and_goes])
@pytest.mark.parametrize("end", ENDS)
def test_a_session_is_tried_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, end: str, meanwhile: Callable[[World], Any]
) -> None:
    world = a_minute(monkeypatch, *ENDS[end], meanwhile)
    # And it is tried for ever.
    assert 4 <= world.attempts <= ATTEMPTS_MOST


def label_of(session: Session) -> int:
    return session.path.in_label if session.path else 0


def regained_and_lost(world: World) -> None:
    """The session is up; from then on each new way resumes it, and is lost at once."""

    def lost(session: Session) -> None:
        for flow in range(session.flows):
            world.sessions.core_stalled(SessionStalled(session.number, flow, Code.UNREACHABLE, label_of(session)))

    def on_path(number: int) -> None:
        session = world.sessions.by_number(number)
        if session is None:
            return
        if session.state is State.STARTING:
            world.sessions.core_up(SessionUp(number))
        else:
            for flow in range(session.flows):
                world.sessions.core_resumed(SessionResumed(number, flow))
        world.loop.call_soon(lost, session)

    world.on_path = on_path


def never_regained(world: World) -> None:
    """The session is up and loses its way; on each new one all flows are lost one after the other."""

    def on_path(number: int) -> None:
        session = world.sessions.by_number(number)
        assert session is not None
        if session.state is State.STARTING:
            world.sessions.core_up(SessionUp(number))
        for flow in range(session.flows):
            world.loop.call_later(0.001 * flow, lost, session, flow)

    def lost(session: Session, flow: int) -> None:
        world.sessions.core_stalled(SessionStalled(session.number, flow, Code.UNREACHABLE, label_of(session)))

    world.on_path = on_path


@pytest.mark.parametrize("meanwhile", [nothing, news])
@pytest.mark.parametrize("prepare", [regained_and_lost, never_regained])
def test_another_way_is_looked_for_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[World], None], meanwhile: Callable[[World], Any]
) -> None:
    world = a_minute(monkeypatch, accepts, prepare, meanwhile)
    assert 20 <= world.attempts <= MENDING_MOST


@pytest.mark.parametrize("meanwhile", [nothing, news])
@pytest.mark.parametrize("answer", [refuses(Code.REFUSED, "not_a_member"), closes, accepts_and_closes])
def test_a_session_that_flows_is_moved_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Neighbour, PathOpen], None], meanwhile: Callable[[World], Any]
) -> None:
    async def looks_better(world: World) -> None:
        beside = asyncio.create_task(meanwhile(world))
        try:
            while True:
                await asyncio.sleep(0.1)
                world.sessions.migration.move_back(lambda edge, link: True)
        finally:
            beside.cancel()

    def prepare(world: World) -> None:
        world.on_path = lambda number: world.sessions.core_up(SessionUp(number))

    def first_accepted(link: Neighbour, asked: PathOpen) -> None:
        (answer if asked.resume else accepts)(link, asked)

    world = a_minute(monkeypatch, first_accepted, prepare, looks_better)
    assert 5 <= world.attempts <= ATTEMPTS_MOST


def test_news_begins_an_attempt_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new link, a new entry, an application: the wait is over, be it as long as it may."""
    moments: list[float] = []

    async def at_times(world: World) -> None:
        await asyncio.sleep(20)
        world.links[0].answer = world.links[1].answer = accepts
        for _ in range(10):
            await asyncio.sleep(0.01)
            world.sessions.kick()
        assert world.sessions.with_key(KEY)[0].state is State.UP
        moments.append(world.loop.time())

    def prepare(world: World) -> None:
        world.on_path = lambda number: world.sessions.core_up(SessionUp(number))

    a_minute(monkeypatch, refuses(Code.REFUSED, "not_a_member"), prepare, at_times)
    assert moments
    assert moments[0] < 20.5


def test_what_was_well_for_long_is_tried_at_once() -> None:
    loop = VirtualLoop()
    retry = Retry(loop)

    async def work() -> None:
        for _ in range(5):
            await retry.due()
            retry.begun()
            retry.failed()
        retry.ended(STEADY_MS)
        assert retry.may_begin()
        retry.begun()
        assert retry.attempts == 1
        await asyncio.sleep(FORGET_MS / 1000 + 1)
        retry.begun()
        assert retry.attempts == 1

    run_virtually(work(), loop)


class LinkOfAMoment:
    """It comes up, and is lost with its lanes up."""

    def __init__(self) -> None:
        self.lanes_up = {0: 1}
        self.control_lost = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, self.control_lost.set)


@pytest.mark.parametrize("error", [None, HandshakeRefused("group", ""), OSError(), RuntimeError()])
def test_a_link_is_dialled_a_bounded_number_of_times(error: Exception | None) -> None:
    loop = VirtualLoop()
    settings = SimpleNamespace(peer=B, address="", bearer="")
    local: Any = SimpleNamespace(config=SimpleNamespace(named_links=(settings,), discoveries=()))
    dialled = 0

    class Counted(Dialler):
        async def _dialled(self, wanted: DialledLink) -> Any:
            nonlocal dialled
            dialled += 1
            if error is not None:
                raise error
            return LinkOfAMoment()

    class Owner:
        bar = None  # no link is kept from coming up

        def spawn(self, work: Any, name: str) -> Any:
            return asyncio.ensure_future(work)

        def refuse_count(self, reason: str) -> None:
            """It is not looked at."""

        def shut_out_by(self, peer: NodeId) -> None:
            """It is not looked at."""

    async def work() -> None:
        Counted(Owner(), local, lambda record: None, loop).start()  # type: ignore[arg-type]
        await asyncio.sleep(MINUTE_S)

    run_virtually(work(), loop)
    assert 10 <= dialled <= ATTEMPTS_MOST
