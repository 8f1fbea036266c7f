"""Requests about a drain: with a fleet the lock comes first, and the end of the drain gives it back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pcgrelay.admin.answers import DrainAnswer
from pcgrelay.admin.server import UID
from pcgrelay.daemon.drain_api import DrainApi
from pcgrelay.gateway.change_lock import ChangeHeld, ChangeUnproved
from tests.support.nodes_in_process import HUB, Nodes, Running
from tests.support.ports import free_port


class Lock:
    """The lock of a fleet that answers as this test wants."""

    def __init__(self) -> None:
        self.refuses: Exception | None = None
        self.asked: list[tuple[str, ...]] = []

    async def take(self, act: str, by: str) -> None:
        self.asked.append(("take", act, by))
        if self.refuses is not None:
            raise self.refuses

    def pass_over(self, act: str, by: str) -> None:
        self.asked.append(("pass over", act, by))

    async def give_back(self, act: str) -> None:
        self.asked.append(("give back", act))

    async def stop(self) -> None:
        pass


class Drained:
    """A relay, and requests about its drain by root."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.lock = Lock()
        running.node.fleet.changes = self.lock  # type: ignore[assignment]
        self._api = DrainApi(running.node)

    @property
    def drains(self) -> bool:
        return self.running.node.draining

    async def __call__(self, **words: str) -> tuple[int, DrainAnswer]:
        answer: Any = await self._api.acted({UID: "0", **words}, b"")
        return answer.code, msgspec.json.decode(answer.body, type=DrainAnswer)


@pytest.fixture
async def drained(tmp_path: Path) -> AsyncIterator[Drained]:
    nodes = Nodes(tmp_path)
    yield Drained(await nodes.start(HUB, "relay-1", role="relay", listens=[f"127.0.0.1:{free_port()}"]))
    await nodes.stop()


async def test_the_lock_is_taken_before_and_given_back_with_the_end(drained: Drained) -> None:
    status, answer = await drained(wait_ms="0")
    assert (status, answer.draining, drained.drains) == (200, True, True)
    assert drained.lock.asked == [("take", "drain", "root")]
    # Asked again it drains already.
    await drained(wait_ms="0")
    assert len(drained.lock.asked) == 1
    status, answer = await drained(undo="1")
    assert (status, answer.draining, drained.drains) == (200, False, False)
    assert drained.lock.asked[1:] == [("give back", "drain")]


@pytest.mark.parametrize(("kind", "code"), [(ChangeHeld, 6), (ChangeUnproved, 1)])
async def test_without_the_lock_nothing_is_drained(drained: Drained, kind: type[Exception], code: int) -> None:
    drained.lock.refuses = kind("Somebody else is at it.")
    status, answer = await drained(wait_ms="0")
    assert (status, answer.reason, answer.exit_code) == (409, "Somebody else is at it.", code)
    assert not drained.drains
    assert not drained.running.lines("node.draining")
    status, answer = await drained(wait_ms="0", without_lock="1")
    assert (status, answer.draining, drained.drains) == (200, True, True)
    assert drained.lock.asked[-1] == ("pass over", "drain", "root")
