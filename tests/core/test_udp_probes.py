"""What a side of a UDP lane knows of the way: silence, loss, and how it comes back. The clock is an argument."""

from __future__ import annotations

import random

import pytest

from tests.native.probe_udp import Probes

PROBE = 500_000
SECOND = 1_000_000
START = 86_400 * SECOND


class Way:
    """PROBEs that go out when due over a way that loses packets; between two, `beside` others go."""

    def __init__(self, *, beside: int = 100) -> None:
        self.now = START
        self.probes = Probes(self.now)
        self.beside = beside
        self.sent = self.taken = self.token = 0
        self.turns: list[tuple[float, str]] = []

    def run(self, seconds: float, *, loss: float = 0.0, longest: int = 1200, seed: int = 1) -> list[str]:
        """Let time pass; answer what came of it."""
        chance = random.Random(seed)
        before = len(self.turns)
        until = self.now + int(seconds * SECOND)
        while self.now < until:
            turn = self.probes.tick(self.now, PROBE)
            self._note(turn)
            if self.now >= self.probes.due_us:
                self._probe(chance, loss, longest)
            self.now += 50_000
        return [turn for _, turn in self.turns[before:]]

    def _probe(self, chance: random.Random, loss: float, longest: int) -> None:
        self.sent += self.beside
        self.taken += sum(chance.random() >= loss for _ in range(self.beside))
        self.token += 1
        self.sent += 1
        self.probes.tx(self.token, self.sent, self.now, PROBE)
        if chance.random() < loss or self.probes.longest > longest:
            return
        self.taken += 1
        if chance.random() >= loss:
            turn, known = self.probes.rx(self.token, self.taken, self.now + 400)
            assert known
            self._note(turn)

    def _note(self, turn: str) -> None:
        if turn != "as before":
            self.turns.append(((self.now - START) / SECOND, turn))


def test_the_first_answer_brings_it_up() -> None:
    way = Way()
    assert way.probes.state == "opening"
    assert way.run(30) == ["came up"]
    assert (way.probes.state, way.probes.loss_ppm, way.probes.round_trip_us) == ("up", 0, 400)


def test_one_that_is_never_answered_is_told_once() -> None:
    way = Way()
    assert way.run(60, loss=1.0) == ["fell silent"]
    assert way.turns[0][0] == pytest.approx(2.05, abs=0.06)
    assert way.run(1) == ["came up"]


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_a_little_loss_is_borne(loss: float) -> None:
    assert Way().run(120, loss=loss) == ["came up"]


@pytest.mark.parametrize("loss", [0.2, 0.5])
def test_much_loss_breaks_it_within_a_moment(loss: float) -> None:
    way = Way()
    way.run(20)
    way.turns.clear()
    assert way.run(10, loss=loss)[0] in ("loses", "fell silent")
    assert way.turns[0][0] - 20 < 6
    assert way.probes.state == "broken"


def test_a_few_lost_packets_of_few_are_chance() -> None:
    way = Way(beside=1)
    way.run(20)
    # Of two packets in each half second it loses one in five, for three seconds.
    assert way.run(3, loss=0.2, seed=5) == []


def test_it_comes_back_after_ten_seconds_without_loss() -> None:
    way = Way()
    way.run(10)
    way.run(5, loss=1.0)
    assert way.probes.state == "broken"
    way.turns.clear()
    assert way.run(9.5) == []
    assert way.run(2) == ["came up"]


def test_it_does_not_come_back_while_it_loses_more_than_it_may() -> None:
    way = Way()
    way.run(10)
    way.run(8, loss=0.4)
    assert way.run(60, loss=0.08) == []
    assert way.probes.state == "broken"
    assert way.run(25, loss=0.01)[-1] == "came up"


def test_each_time_that_it_breaks_again_it_waits_twice_as_long() -> None:
    way = Way()
    way.run(10)
    waits = []
    for _ in range(6):
        way.run(3, loss=1.0)
        waits.append(way.probes.mend_us // SECOND)
        assert way.run(waits[-1] + 2)[-1] == "came up"
    assert waits == [10, 20, 40, 80, 120, 120]
    # Once it has held for as long as the longest wait, it begins anew.
    way.run(130)
    way.run(3, loss=1.0)
    assert way.probes.mend_us == 10 * SECOND


def test_a_way_that_loses_long_packets_gets_shorter_ones() -> None:
    way = Way()
    turns = way.run(10, longest=1000)
    assert turns == ["fell silent", "came up"]
    assert way.probes.longest == 1000
    way = Way()
    assert way.run(10, longest=500)[-1] == "came up"
    assert way.probes.longest == 500


def test_lengths_are_tried_in_turn_as_long_as_nothing_answers() -> None:
    way = Way()
    way.run(0.05, loss=1.0)
    seen = []
    for _ in range(8):
        seen.append(way.probes.longest)
        way.run(2.05, loss=1.0)
    assert seen == [1200, 1000, 500, 1200, 1000, 500, 1200, 1000]


def test_one_that_follows_a_broken_one_is_broken_too() -> None:
    way = Way()
    way.run(10)
    way.run(3, loss=1.0)
    following = Way()
    following.run(1)
    following.probes.follow(way.probes)
    assert following.probes.state == "broken"
    assert following.run(9) == []
    assert following.run(3) == ["came up"]


def test_one_that_follows_another_that_is_up_is_up_and_remembers() -> None:
    way = Way()
    way.run(10)
    way.run(3, loss=1.0)
    way.run(12)
    following = Way()
    following.now = way.now
    following.run(1)
    following.probes.follow(way.probes)
    assert following.probes.state == "up"
    following.run(3, loss=1.0)
    assert following.probes.mend_us == 20 * SECOND


def test_a_token_that_was_not_sent_changes_nothing() -> None:
    probes = Probes(START)
    assert probes.rx(7, 0, START) == ("as before", False)
    probes.tx(7, 1, START, PROBE)
    assert probes.rx(0, 0, START) == ("as before", False)
    assert probes.rx(7, 1, START) == ("came up", True)
    # Each counts once.
    assert probes.rx(7, 1, START) == ("as before", False)


@pytest.mark.parametrize("taken", [0, 1, (1 << 64) - 1])
def test_a_peer_that_lies_breaks_nothing_but_its_own_lane(taken: int) -> None:
    probes = Probes(START)
    for at in range(1, 40):
        probes.tx(at, at * 100, START + at * PROBE, PROBE)
        probes.rx(at, taken if at % 2 else at * 100, START + at * PROBE + 1)
    assert 0 <= probes.loss_ppm <= 1_000_000


def test_time_in_which_this_side_did_not_run_is_no_silence() -> None:
    probes = Probes(START)
    probes.forgive(60 * SECOND, START + 60 * SECOND)
    assert probes.tick(START + 60 * SECOND, PROBE) == "as before"


def test_the_system_may_say_that_it_is_too_long() -> None:
    probes = Probes(START)
    lengths = [probes.longest]
    for _ in range(3):
        probes.shorten()
        lengths.append(probes.longest)
    assert lengths == [1200, 1000, 500, 500]
