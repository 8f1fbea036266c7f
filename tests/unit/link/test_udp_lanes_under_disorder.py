"""Both ends of a link agree on UDP lanes whatever is lost, late, spent, renewed or closed meanwhile; seeded."""

from __future__ import annotations

import random
from collections import Counter, deque
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.clock import SetClock
from pcgrelay.config import Address, ListenSettings
from pcgrelay.dataplane import events
from pcgrelay.identity.handshake import UDP_LANES
from pcgrelay.link.link import LinkState
from pcgrelay.link.udp_lanes import ANSWER_MS, UdpLanes
from pcgrelay.messages import DatagramLane
from tests.support import fake_core
from tests.support.linked_udp_lanes import LANES, LinkOfFakeCore
from tests.support.ports import free_port

STEPS = 400
HOST = "127.0.0.1"


class End:
    """One end: its keeper, its core, and what it has sent that has not arrived."""

    def __init__(self, clock: SetClock, *, dialled: bool) -> None:
        self.plane = LinkOfFakeCore(dialler=dialled)
        self.sent: deque[DatagramLane] = deque()
        self.refused: Counter[str] = Counter()
        listen = ListenSettings(address=Address(HOST, free_port()), bearer="internet")
        self.link: Any = SimpleNamespace(
            number=1, lanes=LANES, dialled=dialled, features={UDP_LANES}, state=LinkState.UP, ends=(HOST, HOST),
            generation=0, replaced=False, bearer="internet", send=self.sent.append,
            peer=SimpleNamespace(dotted="kent-1.kent.police.example"),
            standing=SimpleNamespace(settings=None if dialled else listen),
        )  # fmt: skip
        local: Any = SimpleNamespace(config=SimpleNamespace(node=SimpleNamespace(udp_lanes=True)))
        plane: Any = self.plane
        self.lines: list[Any] = []
        self.keeper = UdpLanes(local, {1: self.link}, self.refused, plane, self.lines.append, clock)

    def settle(self) -> None:
        """Hand what the core reports to the keeper."""
        kinds = {
            fake_core.EVENT_UDP_LANE_UP: events.UdpLaneUp,
            fake_core.EVENT_UDP_LANE_DOWN: events.UdpLaneDown,
            fake_core.EVENT_UDP_LANE_SPENT: events.UdpLaneSpent,
        }
        for kind, *fields in self.plane.core.events():
            event = kinds[kind](*fields)  # type: ignore[index]
            self.keeper.handlers()[type(event)](event)

    @property
    def up(self) -> list[int]:
        return [row[0] for row in self.plane.core.udp_lanes(1) if row[2] == "up"]


@pytest.mark.parametrize("seed", range(20))
def test_whatever_befalls_them_both_ends_come_to_agree(seed: int) -> None:
    chance, clock = random.Random(seed), SetClock(datetime(2031, 1, 1, tzinfo=UTC))
    near, far = End(clock, dialled=True), End(clock, dialled=False)
    offered: list[int] = []
    try:
        for _ in range(STEPS):
            _step(chance, clock, near, far, offered)
            near.settle()
            far.settle()
            assert len(offered) == len(set(offered)), "a number was offered twice"
            assert len(near.plane.core.udp_sockets) <= LANES
            assert len(far.plane.core.udp_sockets) <= LANES
        # Now all is quiet, until the longest back-off and the life of a lane that nothing gets through are over.
        far.plane.core.udp_blocked = False
        for _ in range(20):
            clock.advance(ANSWER_MS)
            _carry(near, far, offered)
            near.keeper.tick()
            for _ in range(3):
                _carry(near, far, offered)
                near.settle()
                far.settle()
        assert near.up == far.up == list(range(LANES))
        assert {row[1] for row in near.plane.core.udp_lanes(1)} == {row[1] for row in far.plane.core.udp_lanes(1)}
    finally:
        near.plane.core.stop()
        far.plane.core.stop()


def _step(chance: random.Random, clock: SetClock, near: End, far: End, offered: list[int]) -> None:
    what = chance.choice(["time", "tick", "carry", "carry", "lose", "spent", "renewed", "closed", "blocked"])
    if what == "time":
        clock.advance(chance.choice([10, 1_000, 20_000, 110_000]))
    elif what == "tick":
        near.keeper.tick()
        far.keeper.tick()
    elif what == "carry":
        _carry(near, far, offered)
    elif what == "lose":
        if near.sent:
            offered.append(near.sent.popleft().number)
        if far.sent:
            far.sent.popleft()
    elif what == "spent":
        for row in near.plane.core.udp_lanes(1):
            near.plane.core.emit(fake_core.EVENT_UDP_LANE_SPENT, 1, row[0], row[1])
    elif what == "renewed":
        near.link.generation += 1
    elif what == "closed":
        end = chance.choice([near, far])
        for row in end.plane.core.udp_lanes(1):
            end.plane.core.udp_lane_close(1, row[0], row[1])
    else:
        far.plane.core.udp_blocked = chance.random() < 0.5
        if chance.random() < 0.5:
            far.plane.core.udp_blocked = False


def _carry(near: End, far: End, offered: list[int]) -> None:
    for sender, receiver in ((near, far), (far, near)):
        while sender.sent:
            message = sender.sent.popleft()
            if sender is near:
                offered.append(message.number)
            receiver.keeper.receive(receiver.link, message)
