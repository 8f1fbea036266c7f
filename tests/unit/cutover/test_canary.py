"""A cut-over from its start to its retirement, and each reason for which it stays, holds or goes back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from pcgrelay.cutover.alarm import Pair
from pcgrelay.cutover.canary import Answer, Facts, Now, settle, tick
from pcgrelay.cutover.histogram import Histogram
from pcgrelay.cutover.odds import Failures
from pcgrelay.cutover.phases import (
    TABLE,
    Event,
    Phase,
    Progress,
    after_restart,
    decode_progress,
    encode_progress,
)
from pcgrelay.cutover.plan import Plan, parse_plan
from pcgrelay.cutover.requests import Request
from pcgrelay.cutover.samples import Outlet, Samples

PLAN_TEXT = """[cutover]
service = "custody@kent.police.example"
from = "cjx"
back = ["cjx", "psnp-b"]
steps = [5, 50, 100]
soak = "10s"
deadline = 2020-03-31
advance = "mon-fri 08:00-16:00"
[gate]
streams = 30
"""
PLAN = parse_plan(PLAN_TEXT, Path("custody.plan.toml"))[0]
START = datetime(2019, 11, 8, 9, 0, tzinfo=UTC)
ALL = frozenset({"gateway", "cjx", "psnp-b"})
DEAD = (Pair(True, False),) * 12


class World:
    """A cut-over with a clock, and traffic that only grows."""

    def __init__(self, plan: Plan = PLAN) -> None:
        self.plan = plan
        self.now = Now(START, 1_000.0)
        self.answer = Answer(Progress(), {})
        self.new, self.old = Outlet("gateway"), Outlet("cjx")
        self.said: list[str] = []

    def pass_time(self, seconds: float = 0.25, *, wall: float | None = None) -> None:
        moved = timedelta(seconds=seconds if wall is None else wall)
        self.now = Now(self.now.wall + moved, self.now.monotonic_s + seconds)

    def look(self, seconds: float = 0.25, *, setups: int = 0, setup_us: int = 12_000, writes: bool = True, **facts: object) -> Answer:  # fmt: skip  # noqa: E501
        self.pass_time(seconds)
        self.new += grown("gateway", setups, setup_us)
        self.old += grown("cjx", setups, 12_000)
        given = {"well": ALL, "supported_until": {"cjx": date(2020, 1, 31), "psnp-b": None}, **facts}
        answer = tick(self.plan, self.answer.progress, Facts(self.new, self.old, **given), self.now)  # type: ignore[arg-type]
        self.answer = settle(self.answer, answer, was_written=writes)
        self.said += [decision.what for decision in self.answer.decisions]
        assert sum(self.answer.shares.values()) == 100
        return self.answer

    def ask(self, event: Event, **more: object) -> Answer:
        return self.look(request=Request(event, **more))  # type: ignore[arg-type]

    def soak(self, setups: int = 500) -> Answer:
        for _ in range(11):
            self.look(1.0, setups=setups // 10)
        return self.answer

    @property
    def phase(self) -> Phase:
        return self.answer.progress.phase

    @property
    def share(self) -> float:
        return self.answer.shares["gateway"]


def grown(name: str, setups: int, setup_us: int) -> Outlet:
    if not setups:
        return Outlet(name)
    at = {12_000: 120}.get(setup_us, 170)
    counts = Histogram(((at, setups - setups // 2), (at + 1, setups // 2)) if setups > 1 else ((at, 1),))
    return Outlet(name, Samples(setups, 0, counts, Histogram(((90, setups),))))


@pytest.fixture
def world() -> World:
    world = World()
    world.look()
    assert (world.phase, world.share) == (Phase.PLANNED, 0)
    world.ask(Event.START)
    assert (world.phase, world.share) == (Phase.SOAKING, 5)
    return world


def test_from_the_start_to_the_retirement(world: World) -> None:
    world.soak()
    assert (world.phase, world.share) == (Phase.SOAKING, 50)
    world.soak()
    assert (world.phase, world.share) == (Phase.SOAKING, 100)
    world.soak()
    assert (world.phase, world.share) == (Phase.ARRIVED, 100)
    world.look(is_quiet=True)
    assert world.phase is Phase.QUIET
    world.look(stray="1 connection on 2020-02-24")
    assert world.phase is Phase.ARRIVED
    world.look(is_quiet=True)
    world.ask(Event.RETIRE)
    assert world.phase is Phase.QUIET
    world.ask(Event.RETIRE, is_approved=True)
    assert (world.phase, world.share) == (Phase.RETIRED, 100)
    assert world.said == "started stepped stepped arrived quiet stray quiet refused retired".split()


def test_no_step_before_the_soak_is_over(world: World) -> None:
    for _ in range(9):
        world.look(1.0, setups=100)
    assert world.answer.progress.step == 0
    world.look(1.0, setups=100)
    assert world.answer.progress.step == 1


def test_no_step_outside_of_the_window_and_no_look_is_spent_on_it(world: World) -> None:
    world.pass_time(8 * 3_600)
    world.soak()
    assert world.answer.progress.soaked_s > PLAN.soak_s
    assert (world.answer.progress.step, world.answer.progress.looks.good) == (0, 0)
    world.pass_time(63 * 3_600)  # Monday morning
    world.look(setups=10)
    assert world.answer.progress.step == 1


def test_time_in_which_nobody_looked_is_no_soak(world: World) -> None:
    world.look(3_000.0, setups=500)
    assert world.answer.progress.soaked_s <= 10


def test_a_step_that_cannot_be_written_is_not_taken(world: World) -> None:
    for _ in range(12):
        world.look(1.0, setups=50, writes=False)
    assert (world.answer.progress.step, world.share) == (0, 5)
    assert world.said[-1] == "refused"
    world.look(1.0, setups=50)
    world.look(1.0, setups=600)
    assert world.answer.progress.step == 1


def test_what_was_seen_is_kept_when_a_step_cannot_be_written(world: World) -> None:
    for _ in range(9):
        world.look(1.0, setups=100)
    world.look(1.0, setups=100, pairs=DEAD[:3], writes=False)
    assert (world.said[-1], world.answer.progress.step) == ("refused", 0)
    assert len(world.answer.progress.evidence.facts.pairs) == 3
    assert world.answer.progress.looks.good == 0
    world.look(1.0)
    assert world.answer.progress.step == 1


def test_nothing_is_retired_while_the_new_outlet_is_away(world: World) -> None:
    for _ in range(3):
        world.soak()
    world.look(is_quiet=True)
    for _ in range(10):
        world.look(well=AWAY)
    world.look(well=AWAY, request=Request(Event.RETIRE, is_approved=True))
    assert (world.phase, world.said[-1]) == (Phase.QUIET, "refused")


def test_a_dead_gateway_is_left_within_the_tick(world: World) -> None:
    facts = Facts(world.new, world.old, ALL, {"cjx": None}, Failures(1, 0, 0.05), (7,), pairs=DEAD)
    after = tick(PLAN, world.answer.progress, facts, world.now)
    assert after.progress.phase is Phase.BACK
    assert after.shares == {"gateway": 0, "cjx": 100, "psnp-b": 0}
    assert not after.is_forward
    assert after.decisions[-1].verdict is not None
    assert after.progress.is_alarmed


def test_a_slow_gateway_is_left_at_the_next_look(world: World) -> None:
    for _ in range(4):
        world.look(setups=20, setup_us=100_000)
    assert (world.phase, world.share) == (Phase.BACK, 0)
    assert world.said[-1] == "fell_back"


def test_it_goes_to_the_first_that_is_well_and_in_support(world: World) -> None:
    world.look(well=frozenset({"gateway", "psnp-b"}), request=Request(Event.FALL_BACK, "j.smith", "INC-77"))
    assert world.answer.shares["psnp-b"] == 100
    # It stays there while that is well, and moves on when it is not.
    world.look()
    assert world.answer.shares["psnp-b"] == 100
    world.look(well=frozenset({"gateway", "cjx"}))
    assert world.answer.shares["cjx"] == 100
    world.now = Now(datetime(2020, 2, 3, 9, tzinfo=UTC), world.now.monotonic_s + 1)
    world.look()
    assert world.answer.shares["psnp-b"] == 100


def test_where_there_is_nowhere_to_go_the_shares_stay_and_it_is_said_once(world: World) -> None:
    alone = frozenset({"gateway"})
    world.look(well=alone, request=Request(Event.FALL_BACK))
    world.look(well=alone, pairs=DEAD)
    assert (world.phase, world.share) == (Phase.SOAKING, 5)
    world.look(well=alone)
    assert world.said[-1] == "nowhere"
    assert world.said.count("nowhere") == 1
    assert world.answer.progress.is_nowhere
    world.look()
    assert world.phase is Phase.BACK


# --- holds ---------------------------------------------------------------------------------------------------------

AWAY = ALL - {"gateway"}


def test_an_absence_is_a_hold_and_costs_the_soak_alone(world: World) -> None:
    world.look(9.0, setups=400)
    world.look(well=AWAY)
    assert (world.phase, world.share) == (Phase.SOAKING, 0)
    world.look(4.9)
    assert world.share == 0
    for _ in range(21):
        world.look()
    assert (world.phase, world.share) == (Phase.SOAKING, 5)
    assert world.answer.progress.soaked_s < 2
    assert world.said[-2:] == ["held", "released"]


def test_the_third_absence_in_a_soak_falls_back(world: World) -> None:
    for _ in range(2):
        world.look(well=AWAY)
        world.look(well=AWAY)
        for _ in range(22):
            world.look()
        assert (world.phase, world.share) == (Phase.SOAKING, 5)
    world.look(well=AWAY)
    assert (world.phase, world.share) == (Phase.SOAKING, 0)
    world.look(well=AWAY)
    assert world.phase is Phase.BACK


def test_what_succeeded_before_an_absence_says_nothing_of_it(world: World) -> None:
    """The target goes: its last set-ups over the old outlet were good, and nobody has tried again yet."""
    for _ in range(4):
        world.look(well=AWAY, back_succeeds=True)
        world.look(well=AWAY, back_succeeds=None)
        world.look(well=AWAY, back_succeeds=False)
        for _ in range(22):
            world.look()
        assert (world.phase, world.share) == (Phase.SOAKING, 5)


def test_a_minute_of_absence_falls_back(world: World) -> None:
    for _ in range(61):
        world.look(1.0, well=AWAY)
        if world.phase is Phase.BACK:
            break
    assert world.phase is Phase.BACK


def test_a_target_that_is_away_on_both_is_waited_for_without_limit(world: World) -> None:
    for _ in range(3):
        for _ in range(120):
            world.look(1.0, well=AWAY, back_succeeds=False)
        for _ in range(22):
            world.look()
    assert (world.phase, world.share) == (Phase.SOAKING, 5)


def test_while_nothing_succeeds_on_either_outlet_no_step_is_taken_and_the_soak_begins_anew(world: World) -> None:
    world.look(9.0, setups=400)
    for _ in range(30):
        world.look(1.0, both_fail=True)
    assert (world.phase, world.share, world.answer.progress.step) == (Phase.SOAKING, 5, 0)
    world.look(9.0)
    assert world.answer.progress.step == 0
    world.look(1.5)
    assert world.answer.progress.step == 1


def test_after_the_arrival_a_restart_is_waited_for(world: World) -> None:
    for _ in range(3):
        world.soak()
    assert world.phase is Phase.ARRIVED
    world.look(well=AWAY)
    world.look(1.0, well=AWAY)
    assert world.share == 100
    world.look(1.0, well=AWAY)
    assert world.share == 0


def test_what_failed_just_before_the_gateway_went_away_is_no_evidence(world: World) -> None:
    world.look(setup_clients=(1,), pairs=DEAD[:4])
    assert not world.answer.progress.evidence.facts.odds.is_rest
    world.look(well=AWAY, pairs=DEAD)
    assert (world.phase, world.share) == (Phase.SOAKING, 0)
    assert world.answer.progress.evidence.facts.odds.is_rest


def test_while_frames_are_unacknowledged_it_holds_first(world: World) -> None:
    world.look(pairs=DEAD, is_unacknowledged=True)
    assert (world.phase, world.share) == (Phase.SOAKING, 0)
    # The session is lost: it was a relay.
    lost = tick(PLAN, world.answer.progress, Facts(world.new, world.old, AWAY), Now(START, world.now.monotonic_s + 0.5))
    assert lost.progress.phase is Phase.SOAKING
    assert lost.progress.evidence.facts.odds.is_rest
    # It is still up after two intervals: it is the gateway.
    world.look(0.5, is_unacknowledged=True)
    assert world.phase is Phase.SOAKING
    world.look(0.5, is_unacknowledged=True)
    assert world.phase is Phase.BACK


# --- requests, clocks, restarts ------------------------------------------------------------------------------------


def test_a_pause_keeps_the_shares_and_stops_the_soak(world: World) -> None:
    world.look(5.0, setups=400)
    world.ask(Event.PAUSE)
    for _ in range(20):
        world.look(1.0, setups=100)
    assert (world.phase, world.share) == (Phase.PAUSED, 5)
    world.look(pairs=DEAD)
    assert world.phase is Phase.BACK
    world = World()
    world.look()
    world.ask(Event.START)
    world.ask(Event.PAUSE)
    world.ask(Event.RESUME)
    assert (world.phase, world.share) == (Phase.SOAKING, 5)


def test_starting_again_after_an_alarm_needs_an_approval_and_begins_at_the_first_step(world: World) -> None:
    world.soak()
    world.look(pairs=DEAD)
    assert world.phase is Phase.BACK
    world.ask(Event.START)
    assert (world.phase, world.said[-1]) == (Phase.BACK, "refused")
    world.ask(Event.START, is_approved=True)
    assert (world.phase, world.share) == (Phase.SOAKING, 5)
    assert world.answer.progress.evidence.facts.odds.is_rest
    world.ask(Event.FALL_BACK, by="j.smith", reason="INC-77")
    assert world.answer.decisions[-1].sentence == "Fell back by j.smith: INC-77."
    world.ask(Event.START)
    assert world.phase is Phase.SOAKING


def test_what_is_asked_twice_or_makes_no_sense_is_refused_in_a_sentence(world: World) -> None:
    world.ask(Event.START)
    assert world.answer.decisions[-1].sentence == "The cut-over of custody@kent.police.example is running: soaking."
    world.ask(Event.RESUME)
    assert "is soaking, and resume means nothing there" in world.answer.decisions[-1].sentence
    world.ask(Event.STRAY)
    assert world.said[-1] == "refused"
    night = World()
    night.now = Now(START + timedelta(hours=10), 1.0)
    night.look()
    night.ask(Event.START)
    assert "no window for a step forward is open; the next is on 2019-11-11 at 08:00 UTC" in (
        night.answer.decisions[-1].sentence.lower().replace("utc", "UTC")
    )


def test_an_open_gate_can_be_waived_and_a_bad_one_cannot(world: World) -> None:
    for _ in range(11):
        world.look(1.0, setups=2)
    world.ask(Event.STEP)
    assert (world.answer.progress.step, world.said[-1]) == (0, "refused")
    questions = frozenset({"enough", "failures", "setup", "answer", "tail"})
    world.ask(Event.STEP, waived=questions)
    assert world.answer.progress.step == 0
    world.ask(Event.STEP, waived=questions, is_approved=True)
    assert (world.answer.progress.step, world.share) == (1, 50)


def test_after_a_jump_of_the_clock_there_is_no_step_for_an_hour(world: World) -> None:
    world.pass_time(0.25, wall=-3_600)
    world.soak()
    assert world.answer.progress.step == 0
    assert "held" in world.said
    for _ in range(40):
        world.look(90.0, setups=50)
    assert world.answer.progress.step >= 1


def test_a_restart_begins_the_soak_again_and_an_upgrade_does_not(world: World) -> None:
    world.look(5.0, setups=400, pairs=DEAD[:2])
    data = encode_progress(world.answer.progress)
    progress = decode_progress(data)
    assert progress.soaked_s == world.answer.progress.soaked_s > 0
    assert progress.evidence.facts == world.answer.progress.evidence.facts
    assert after_restart(progress).soaked_s == 0
    assert encode_progress(progress) == data


def test_each_event_of_the_table_leads_somewhere_and_nothing_leads_out_of_the_end() -> None:
    assert set(TABLE) == set(Phase)
    assert TABLE[Phase.RETIRED] == {}
    reached = {phase for row in TABLE.values() for phase in row.values()}
    assert reached == set(Phase) - {Phase.PLANNED}
    for phase in (Phase.SOAKING, Phase.PAUSED, Phase.ARRIVED, Phase.QUIET):
        assert TABLE[phase][Event.FALL_BACK] is Phase.BACK
