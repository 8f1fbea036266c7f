"""Worlds with UDP lanes, over a network of packets that loses, repeats, reorders, changes and blocks them, and that
shows an edge somewhere else all at once: no datagram is changed, repeated or led astray, and each packet is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.simulation.scenario import Operation, Scenario, scenario_of
from tests.simulation.worlds import Worlds, simulation

SAME, NEW = 6, 2  # seeds of each run, and seeds that follow from the number that pytest prints


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with Worlds() as made:
        yield made


def test_worlds_with_udp_lanes_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Much goes by UDP, all that may happen to packets happens, and lanes end in every way."""
    counts: Counter[str] = Counter()
    for seed in range(SAME):
        shape = scenario_of(seed, udp=True)
        outcome = worlds.outcome(shape)
        assert outcome["fault"] == "", f"{outcome['fault']}\npython -m tests.simulation --scenario '{shape.text()}'"
        counts.update(outcome["counts"])
    assert counts["udp datagrams"] > 1_000
    for what in ("token", "length", "tag", "replayed"):
        assert counts[f"udp refused_{what}"] > 0, counts
    for what in ("link", "loss", "replaced", "silent"):
        assert counts[f"udp-lane {what}"] > 0, counts
    assert counts["udp packets_not_sent"] > 0
    assert counts["hand-over"] > 0


def test_worlds_with_udp_lanes_that_nobody_has_seen(pytestconfig: pytest.Config) -> None:
    first = int(pytestconfig.option.hypothesis_seed) % (1 << 32) + 2_000_000
    done = simulation("--udp", "--seeds", str(NEW), "--from", str(first))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.tier_all
@pytest.mark.parametrize("first", range(1_000, 1_200, 20))
def test_two_hundred_worlds_with_udp_lanes(first: int) -> None:
    done = simulation("--udp", "--seeds", "20", "--from", str(first))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("wild", [0, 16])
def test_keys_of_udp_lanes_are_replaced_before_they_end(worlds: Worlds, wild: int) -> None:
    """None is ever used up, and no lane is without one for long."""
    asks = [Operation("ask", side, 39, 200_000) for side in (0, 1)]
    shape = Scenario(
        seed=3, clients=True, udp=31, wild=wild, lanes=1,
        operations=[*(each for _ in range(4) for each in (*asks, Operation("udp_rest", 59_000))), *asks],
    )  # fmt: skip
    outcome = worlds.outcome(shape)
    assert outcome["fault"] == "", shape.text()
    assert outcome["counts"]["udp-lane replaced"] >= 2 * 6 * 2
    assert "udp-lane spent" not in outcome["counts"]


def test_a_world_with_udp_lanes_has_one_outcome(worlds: Worlds) -> None:
    asks = [Operation("ask", side, 39, 20_000) for side in (0, 1)]
    operations = [*asks, Operation("udp_forget"), *asks]
    shape = Scenario(seed=1, workers=2, clients=True, udp=31, wild=16, operations=operations)
    with Worlds() as others:
        assert others.outcome(shape) == worlds.outcome(shape)


@pytest.mark.parametrize("forgets", [0, 1])
def test_a_nat_that_forgets_again_and_again_ends_no_udp_lane(worlds: Worlds, forgets: int) -> None:
    """The other side follows the next packet, so that no silence lasts for four probes."""
    moves = [Operation("udp_forget", side, forgets) for side in (0, 1)]
    shape = Scenario(
        seed=5, clients=True, udp=31, delay_us=500, jitter_us=100,
        operations=[Operation("wait", 4, 2), *(each for _ in range(5) for each in (*moves, Operation("wait", 4, 1)))],
    )  # fmt: skip
    outcome = worlds.outcome(shape)
    assert outcome["fault"] == "", shape.text()
    # Those alone that all worlds have in the end, when everything is blocked.
    assert outcome["counts"]["udp-lane silent"] == 2 * 2 * 6


def test_a_node_without_udp_lanes_has_its_neighbours_datagrams_by_its_lanes(worlds: Worlds) -> None:
    for nodes in (0b11000, 0b01111):
        outcome = worlds.outcome(replace(scenario_of(2, udp=True), udp=nodes, outlets=False))
        assert outcome["fault"] == ""
        assert outcome["counts"]["clients heard"] > 0
