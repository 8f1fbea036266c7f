"""Which link the next path takes, and what is said against the others."""

from __future__ import annotations

import pytest

from pcgrelay.link.choice import Candidate, against, choose
from pcgrelay.model import Precedence

PREFERRED, DEFAULT, BACK_UP = Precedence


@pytest.mark.parametrize(
    ("better", "worse", "words"),
    [
        (
            Candidate(2, 3, BACK_UP, 0, load=9),
            Candidate(1, 1, PREFERRED, is_well=False),
            "it is not well, or not long enough",
        ),
        (Candidate(2, 3, PREFERRED, 1), Candidate(1, 1, DEFAULT), "it is default, the chosen one preferred"),
        (Candidate(2, 3, DEFAULT), Candidate(1, 1, BACK_UP), "it is back-up, the chosen one default"),
        (Candidate(2, 0, load=9), Candidate(1, 1), "it is longer: 1 relay, the chosen one has no relay"),
        (Candidate(2, 1, weight=1, load=9), Candidate(1, 1, weight=0), "its weight is 0"),
        (Candidate(2, 1, load=1), Candidate(1, 1, load=2), "its share by weight is met: 2 of its weight 100"),
        (
            Candidate(2, 1, weight=75, load=2),
            Candidate(1, 1, weight=25, load=1),
            "its share by weight is met: 1 of its weight 25",
        ),
        (Candidate(2, 1, round_trip_ms=1.0), Candidate(1, 1, round_trip_ms=2.0), "its round trip is longer"),
        (Candidate(2, 1, round_trip_ms=1.0), Candidate(1, 1), "its round trip is longer"),
        (Candidate(1, 1), Candidate(2, 1), "it is no better"),
    ],
)
def test_one_thing_after_the_other_decides(better: Candidate, worse: Candidate, words: str) -> None:
    assert choose([worse, better]) is better
    assert choose([better, worse]) is better
    assert against(worse, better) == words


def test_nobody_and_one() -> None:
    assert choose([]) is None
    last = Candidate(1, 8, BACK_UP, 0, is_well=False)
    assert choose([last]) is last


@pytest.mark.parametrize("weights", [(50, 50), (75, 25), (100, 1), (60, 30, 10), (100, 0)])
def test_paths_are_dealt_by_weight(weights: tuple[int, ...]) -> None:
    load = [0] * len(weights)
    for _ in range(300):
        chosen = choose(Candidate(n, 1, weight=weight, load=load[n]) for n, weight in enumerate(weights))
        assert chosen is not None
        load[chosen.number] += 1
    for count, weight in zip(load, weights, strict=True):
        assert abs(count - 300 * weight / sum(weights)) <= 1


def test_the_only_links_left_share_though_their_weight_is_zero() -> None:
    assert choose([Candidate(1, 1, weight=0, round_trip_ms=2.0), Candidate(2, 1, weight=0, round_trip_ms=1.0)])
