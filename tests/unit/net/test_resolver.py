"""Names are looked up once at a time and by those who wait for a link first; what comes late is not lost."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator

import pytest

from pcgrelay.net import resolver as module
from pcgrelay.net.resolver import RUNNING_MOST, Answer, Outcome, Resolver, Use
from tests.support.waiting import until_async as until

FOUND = Answer(Outcome.FOUND, ((int(socket.AF_INET), "192.0.2.7"),))


class Service:
    """A name service that says nothing about some names until it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.silent: set[str] = set()
        self.speaks = threading.Event()

    def ask(self, host: str) -> Answer:
        self.asked.append(host)
        if host in self.silent:
            self.speaks.wait(30)
        return FOUND


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    yield made
    made.speaks.set()


async def wanted(resolver: Resolver, host: str, use: Use, seconds: float = 10) -> Answer:
    async with asyncio.timeout(seconds):
        return await resolver.find(host, use)


async def given_up(resolver: Resolver, host: str, use: Use) -> None:
    with pytest.raises(TimeoutError):
        await wanted(resolver, host, use, 0.05)


async def test_a_number_is_not_looked_up(service: Service) -> None:
    resolver = Resolver(service.ask)
    assert await resolver.find("192.0.2.1", Use.LINK) == Answer(Outcome.FOUND, ((socket.AF_INET, "192.0.2.1"),))
    assert await resolver.find("::1", Use.LINK) == Answer(Outcome.FOUND, ((socket.AF_INET6, "::1"),))
    assert not service.asked


async def test_one_name_is_looked_up_once_at_a_time(service: Service) -> None:
    resolver = Resolver(service.ask)
    service.silent = {"relay"}
    waiting = [asyncio.create_task(wanted(resolver, "relay", use)) for use in (Use.TARGET, Use.LINK) * 20]
    await given_up(resolver, "relay", Use.LINK)
    await until(lambda: service.asked)
    service.speaks.set()
    assert await asyncio.gather(*waiting) == [FOUND] * 40
    assert service.asked == ["relay"]
    # And then again.
    assert await wanted(resolver, "relay", Use.LINK) == FOUND
    assert service.asked == ["relay"] * 2


async def test_an_answer_that_comes_late_is_for_the_next_who_asks(service: Service) -> None:
    resolver = Resolver(service.ask)
    service.silent = {"relay"}
    for _ in range(5):
        await given_up(resolver, "relay", Use.LINK)
    assert service.asked == ["relay"]
    service.speaks.set()
    await until(lambda: not resolver._look_ups)
    service.speaks.clear()
    assert await wanted(resolver, "relay", Use.LINK, 0.5) == FOUND
    assert service.asked == ["relay"]
    # It is taken once.
    await given_up(resolver, "relay", Use.LINK)


async def test_a_late_answer_does_not_keep(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_S", 0.0)
    resolver = Resolver(service.ask)
    service.silent = {"relay"}
    await given_up(resolver, "relay", Use.LINK)
    service.speaks.set()
    await until(lambda: not resolver._look_ups)
    assert await wanted(resolver, "relay", Use.LINK) == FOUND
    assert service.asked == ["relay"] * 2


async def test_names_that_nobody_answers_for_leave_room_for_the_others(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each rank there may be any number: those before it are looked up at once."""
    monkeypatch.setattr(module, "SLOW_S", 0.01)
    resolver = Resolver(service.ask)
    dead_targets = [f"dead-target-{number}" for number in range(100)]
    service.silent = set(dead_targets)
    for name in dead_targets:
        await_nothing(resolver, name, Use.TARGET)
    await until(lambda: len(service.asked) == RUNNING_MOST[Use.TARGET])
    assert await wanted(resolver, "relay", Use.LINK, 5) == FOUND
    # A relay whose name is dead too takes nothing from the next.
    dead_links = [f"dead-relay-{number}" for number in range(8)]
    service.silent |= set(dead_links)
    for name in dead_links:
        await_nothing(resolver, name, Use.LINK)
    assert await wanted(resolver, "relay-2", Use.LINK, 5) == FOUND
    # What was slow leaves room for what was not: a target that is well is looked up beside the dead ones from then on.
    service.speaks.set()
    await until(lambda: not resolver._look_ups, 30)
    service.speaks.clear()
    resolver._late.clear()
    for name in dead_targets:
        await_nothing(resolver, name, Use.TARGET)
    assert await wanted(resolver, "target", Use.TARGET, 5) == FOUND
    assert len(resolver._look_ups) == len(dead_targets)


def await_nothing(resolver: Resolver, name: str, use: Use) -> None:
    """Ask, and do not wait for the answer."""
    task = asyncio.ensure_future(resolver.find(name, use))
    loop = asyncio.get_running_loop()
    # From its beginning: a loop that is late runs timers first, and would cancel what has not asked yet.
    loop.call_soon(loop.call_later, 0.05, task.cancel)


async def test_a_link_does_not_wait_where_a_target_waits(service: Service) -> None:
    """A name that a target waits for is looked up at once if a link wants it too."""
    resolver = Resolver(service.ask)
    names = [f"dead-{number}" for number in range(100)]
    service.silent = set(names)
    for name in names:
        await_nothing(resolver, name, Use.TARGET)
    await_nothing(resolver, "both", Use.TARGET)
    await until(lambda: len(service.asked) == RUNNING_MOST[Use.TARGET])
    assert await wanted(resolver, "both", Use.LINK, 5) == FOUND


async def test_what_the_system_does_not_like_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(host: str) -> Answer:
        raise RuntimeError

    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    assert (await wanted(Resolver(broken), "relay", Use.LINK)).outcome is Outcome.UNKNOWN


async def test_the_system_is_asked() -> None:
    answer = await wanted(module.RESOLVER, "localhost", Use.LINK)
    assert answer.outcome is Outcome.FOUND
    assert {host for _, host in answer.found} & {"127.0.0.1", "::1"}
    assert (await wanted(module.RESOLVER, "a" * 64, Use.LINK)).outcome is not Outcome.FOUND


def test_a_loop_that_is_closed_is_passed_over() -> None:
    """A process, or a test, that ends does not wait for the name service."""
    made = Service()
    made.silent = {"relay"}
    resolver = Resolver(made.ask)

    async def leave() -> None:
        await given_up(resolver, "relay", Use.LINK)
        await_nothing(resolver, "relay", Use.LINK)
        await asyncio.sleep(0)

    began = time.monotonic()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(leave())
    loop.run_until_complete(cancelled())
    loop.close()
    assert time.monotonic() - began < 10
    made.speaks.set()


async def cancelled() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
