"""The side of a hand-over that leaves: what it writes beside the event loop is finished before the other one writes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pcgrelay.daemon.handover import old_process
from pcgrelay.daemon.handover.channel import Channel, ChannelBroken, Offer, Ready, State
from pcgrelay.daemon.handover.old_process import Handover
from pcgrelay.errors import RunError
from pcgrelay.state.writes import StateWrites
from tests.support.waiting import until_async


class Readers:
    async def settle(self) -> None:
        pass

    def resume(self) -> None:
        pass


class Leaving(Handover):
    """A process that is asked for its state, up to the moment at which it hands it over."""

    def __init__(self) -> None:
        self.writes = StateWrites()
        self.handed: list[str] = []

        async def flush() -> None:
            pass

        self._node = cast(
            Any,
            SimpleNamespace(
                draining=False,
                role=SimpleNamespace(why_no_upgrade=lambda: ""),
                audit=SimpleNamespace(flush=flush),
                readers=Readers(),
                writes=self.writes,
            ),
        )
        self._keeper = cast(Any, SimpleNamespace(refusal=lambda pid: ""))
        self._reloader = cast(Any, SimpleNamespace(lock=asyncio.Lock()))
        self.signals = SimpleNamespace(has_stop=False)
        self._signals = cast(Any, self.signals)
        self.disk: list[str] = []

    def _offer(self) -> Offer:
        return Offer(
            record=1, handover=1, node={}, used_bytes=0, descriptors=0, listens=(), imports=(),
        )  # fmt: skip

    def _hand_over(self, channel: Channel) -> None:
        # The other process would write now.
        self.disk.append("new")


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    near, far = socket.socketpair()
    one, other = Channel(near), Channel(far)
    yield one, other
    one.close()
    other.close()


def ask(channel: Channel, answers: list[str]) -> None:
    try:
        channel.receive(Offer, 20)
        channel.send(Ready(), 20)
        channel.receive(State, 20)
    except ChannelBroken as broken:
        answers.append(str(broken))


async def test_a_write_that_is_under_way_ends_first(channels: tuple[Channel, Channel]) -> None:
    leaving, (near, far) = Leaving(), channels
    gate, begun = threading.Event(), threading.Event()

    def write() -> None:
        begun.set()
        gate.wait(20)
        leaving.disk.append("old")

    writing = asyncio.create_task(leaving.writes.run(write))
    await asyncio.to_thread(begun.wait, 20)
    # Whoever waits for it may go; the thread does not.
    writing.cancel()
    other = threading.Thread(target=ask, args=(far, []))
    other.start()
    asked = asyncio.create_task(leaving._asked(near))
    await until_async(lambda: not leaving.writes._is_open.is_set())
    assert not asked.done()
    late = asyncio.create_task(leaving.writes.run(leaving.disk.append, "late"))
    gate.set()
    await asked
    # Here it came to nothing, so this process goes on, and writes.
    await late
    assert leaving.disk == ["old", "new", "late"]
    far.cut()
    other.join(20)


async def test_a_disk_that_is_too_slow_leaves_this_process_in_place(
    channels: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(old_process, "WRITES_S", 0.05)
    leaving, (near, far) = Leaving(), channels
    gate, answers = threading.Event(), list[str]()
    writing = asyncio.create_task(leaving.writes.run(gate.wait, 20))
    other = threading.Thread(target=ask, args=(far, answers))
    other.start()
    await asyncio.sleep(0)
    with pytest.raises(RunError, match="the disk is too slow"):
        await leaving._asked(near)
    await asyncio.to_thread(other.join, 20)
    assert answers == ["the disk is too slow: 1 files of state are still being written after 0.05 s"]
    assert leaving.disk == []
    gate.set()
    await writing
    await leaving.writes.run(leaving.disk.append, "old")
    assert leaving.disk == ["old"]


async def test_a_process_that_was_told_to_stop_does_not_begin(channels: tuple[Channel, Channel]) -> None:
    leaving, (near, far) = Leaving(), channels
    leaving.signals.has_stop = True
    answers = list[str]()
    other = threading.Thread(target=ask, args=(far, answers))
    other.start()
    with pytest.raises(ChannelBroken, match="it has been told to stop"):
        await leaving._asked(near)
    await asyncio.to_thread(other.join, 20)
    assert answers == ["it has been told to stop"]
    assert leaving.disk == []
