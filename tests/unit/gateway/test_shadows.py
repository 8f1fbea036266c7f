"""Shadows: what comes of one, and how many there are, with the fake core."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import Address, ImportSettings
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.dataplane.events import SetupEnded
from pcgrelay.gateway import shadows as module
from pcgrelay.gateway.shadows import SHADOWS_MOST, ShadowEnd, Shadows, Talk
from pcgrelay.model import ServiceName, Transport
from pcgrelay.services.services import Imported

Far = Callable[[socket.socket], None]
NOTHING = Talk()


class FakePlane:
    """A data plane that answers each shadow as a test says."""

    def __init__(self, outcome: str = "up", far: Far | None = None) -> None:
        self.outcome = outcome
        self.far = far
        self.numbers: list[int] = []
        self.shadows: Shadows | None = None

    def import_connect(self, number: int, fd: int, outlet: int, shadow: int) -> None:
        assert (number, outlet) in ((1, 2), (1, 0))
        self.numbers.append(shadow)
        if self.outcome == "no room":
            os.close(fd)
            raise DataPlaneRefused("there is no room")
        if self.outcome == "nothing":
            os.close(fd)
            return
        sock = socket.socket(fileno=fd)
        event = SetupEnded(number, outlet, self.outcome, self.outcome, 0, 0, 0, 0, shadow, 1_500)
        asyncio.get_running_loop().call_soon(self._end, sock, event)

    def _end(self, sock: socket.socket, event: SetupEnded) -> None:
        assert self.shadows is not None
        self.shadows.ended(event)
        if self.far is not None:
            self.far(sock)
        sock.close()


def imported(transport: Transport = Transport.STREAM) -> Imported:
    listen = Address("127.0.0.1", 53).over(transport)
    return Imported(1, ImportSettings(service=ServiceName("dns", "kent.police.example"), listen=listen))


async def one(
    outcome: str = "up",
    talk: Talk = NOTHING,
    far: Far | None = None,
    timeout_s: float = 5,
    transport: Transport = Transport.STREAM,
) -> ShadowEnd:
    plane = FakePlane(outcome, far)
    plane.shadows = Shadows(plane, SYSTEM_CLOCK)  # type: ignore[arg-type]
    end = await plane.shadows.connect(imported(transport), 2, talk, timeout_s)
    assert plane.shadows.has_room
    return end


@pytest.mark.parametrize(
    ("outcome", "says_something"),
    [("up", True), ("refused", True), ("silent", True), ("denied", True), ("away", False), ("lost", False)],
)
async def test_a_shadow_comes_to_what_the_core_tells(outcome: str, says_something: bool) -> None:
    end = await one(outcome)
    assert (end.outcome, end.setup_us, end.says_something) == (outcome, 1_500, says_something)
    assert end.is_good == (outcome == "up")


async def test_without_an_answer_it_is_silent() -> None:
    assert (await one("nothing", timeout_s=0.05)).outcome == "silent"


async def test_a_core_without_room_says_nothing_of_the_outlet() -> None:
    assert not (await one("no room")).says_something


async def test_it_says_its_word_and_measures_the_answer() -> None:
    def far(sock: socket.socket) -> None:
        sock.sendall(b"Nice")

    end = await one(talk=Talk(b"\x00\x08", b"N"), far=far)
    assert end.is_good
    assert end.answer_us is not None


@pytest.mark.parametrize("said", [b"", b"E", b"Something else"])
async def test_an_answer_that_is_not_expected_is_wrong(said: bytes) -> None:
    end = await one(talk=Talk(b"", b"N"), far=lambda sock: sock.sendall(said))
    assert end.outcome == "wrong"
    assert end.says_something
    assert not end.is_good


async def test_a_far_side_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_MOST_S", 0.05)
    held: list[socket.socket] = []
    end = await one(talk=Talk(b"hello", b"N"), far=lambda sock: held.append(sock.dup()))
    assert end.outcome == "wrong"
    held[0].close()


@pytest.mark.parametrize(("answer", "outcome"), [(b"an answer", "up"), (b"another one", "wrong"), (b"", "wrong")])
async def test_one_of_datagrams_says_its_word_first_and_its_first_answer_decides(answer: bytes, outcome: str) -> None:
    asked: list[bytes] = []

    def far(sock: socket.socket) -> None:
        assert sock.type == socket.SOCK_SEQPACKET
        asked.append(sock.recv(100))
        sock.send(answer)
        sock.send(b"answer")

    end = await one(talk=Talk(b"question", b"answer"), far=far, transport=Transport.DATAGRAM)
    assert asked == [b"question"]
    assert (end.outcome, end.setup_us, end.says_something) == (outcome, 1_500, True)


@pytest.mark.parametrize("talk", [NOTHING, Talk(b"question"), Talk(expect=b"answer")])
async def test_one_of_datagrams_without_a_word_says_nothing_of_the_outlet(talk: Talk) -> None:
    assert not (await one(talk=talk, transport=Transport.DATAGRAM)).says_something


async def test_there_are_so_many_at_a_time_and_numbers_are_their_own() -> None:
    plane = FakePlane("nothing")
    plane.shadows = Shadows(plane, SYSTEM_CLOCK)  # type: ignore[arg-type]
    tasks = [asyncio.create_task(plane.shadows.connect(imported(), 0, NOTHING, 30)) for _ in range(SHADOWS_MOST)]
    await asyncio.sleep(0)
    assert not plane.shadows.has_room
    assert len(set(plane.numbers)) == SHADOWS_MOST
    assert (await plane.shadows.connect(imported(), 0, NOTHING, 30)).outcome == "local"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert plane.shadows.has_room
