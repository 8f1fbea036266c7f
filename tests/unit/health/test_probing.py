"""A link's health by its probes: loss, silence, and no wavering between."""

from __future__ import annotations

from pcgrelay.health.probing import SILENCE_FAILING_MS, LinkProbing
from pcgrelay.health.state import Health


class Looks:
    """One link, looked at once a second: four probes in each."""

    def __init__(self) -> None:
        self.state = LinkProbing()
        self.sent = self.lost = self.received = self.now = 0

    def look(self, lost: int = 0, *, heard: bool = True, lanes_up: bool = True, rtt_us: int = 300) -> Health:
        self.now += 1_000
        self.sent += 4
        self.lost += lost
        self.received += heard
        self.state = self.state.after(
            sent=self.sent,
            lost=self.lost,
            received_bytes=self.received,
            round_trip_us=rtt_us,
            lanes_up=lanes_up,
            now_ms=self.now,
        )
        return self.state.health


def test_nothing_is_known_before_the_first_probe() -> None:
    state = LinkProbing().after(sent=0, lost=0, received_bytes=0, round_trip_us=0, lanes_up=True, now_ms=5)
    assert (state.health, state.round_trip_ms, state.silent_ms) == (Health.UNKNOWN, None, 0)


def test_a_single_lost_probe_is_borne() -> None:
    link = Looks()
    assert [link.look(), link.look(1), link.look()] == 3 * [Health.OK]
    assert 0 < link.state.loss < 0.1
    assert link.state.round_trip_ms == 0.3


def test_loss_makes_it_fail_and_only_long_quiet_makes_it_well() -> None:
    link = Looks()
    link.look()
    found = [link.look(3) for _ in range(4)]
    assert found[-1] is Health.FAILING
    back = []
    while link.state.health is Health.FAILING:
        back.append(link.state.loss)
        link.look()
    # It was below the bound at which it failed for a while before it was well.
    assert sum(loss < 0.25 for loss in back) >= 3
    assert len(back) < 12


def test_between_the_bounds_nothing_changes() -> None:
    well, failing = Looks(), Looks()
    for _ in range(5):
        failing.look(4)
    for turn in range(200):
        lost = 1 if turn % 2 else 0
        assert well.look(lost) is Health.OK
        assert failing.look(lost) is Health.FAILING


def test_silence_and_lost_lanes() -> None:
    link = Looks()
    link.look()
    assert link.look(heard=False) is Health.OK
    assert link.look(heard=False) is Health.FAILING
    assert link.state.silent_ms >= SILENCE_FAILING_MS
    assert link.look() is Health.OK
    assert link.look(lanes_up=False) is Health.FAILING


def test_counters_that_begin_anew_are_no_loss() -> None:
    link = Looks()
    for _ in range(3):
        link.look(2)
    link.sent = link.lost = 0
    before = link.state.loss
    link.look()
    assert link.state.loss <= before
