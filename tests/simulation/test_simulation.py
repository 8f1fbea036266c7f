"""Two edges and three relays on virtual wires and a virtual clock, and in some worlds a second exit beside the gateway:
whatever happens to them, nothing is lost, nothing comes twice, no nonce is used again, no memory stays behind, and
every stream ends."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.client_checks import SAYS
from tests.simulation.scenario import CLIENT_KINDS, KINDS, OUTLET_KINDS, Operation, Scenario, scenario_of, scenario_read
from tests.simulation.worlds import Worlds, simulation

SAME, NEW = 200, 100  # seeds of each run, and seeds that follow from the number that pytest prints

NUMBERS = st.integers(0, (1 << 24) - 1)
OPERATIONS = st.builds(
    Operation, st.sampled_from(sorted({**KINDS, **OUTLET_KINDS, **CLIENT_KINDS})), NUMBERS, NUMBERS, NUMBERS
)
SCENARIOS = st.builds(
    Scenario,
    seed=st.integers(0, 1 << 32),
    lanes=st.integers(1, 3),
    workers=st.integers(1, 2),
    delay_us=st.sampled_from([50, 5_000, 30_000]),
    jitter_us=st.sampled_from([0, 3_000]),
    room=st.sampled_from([3_000, 262_144]),
    rekey_frames=st.sampled_from([0, 5]),
    rekey_bytes=st.sampled_from([0, 100_000]),
    rekey_ms=st.sampled_from([0, 700]),
    cap=st.sampled_from([131_072, 1_048_576]),
    budget=st.sampled_from([0, 0, 400_000, 3_000_000]),
    control_us=st.sampled_from([0, 100_000]),
    both_begin=st.booleans(),
    relays_linked=st.booleans(),
    suite=st.integers(1, 3),
    outlets=st.booleans(),
    share=st.sampled_from([0, 50, 100]),
    careful=st.booleans(),
    leads_denied=st.booleans(),
    patience_ms=st.sampled_from([60, 1_500]),
    datagrams=st.booleans(),
    clients=st.booleans(),
    quota=st.sampled_from([0, 0, 0, 2]),
    quota_each=st.sampled_from([0, 0, 0, 1]),
    operations=st.lists(OPERATIONS, max_size=40),
)


@pytest.fixture(scope="module")
def worlds() -> Iterator[Worlds]:
    with Worlds() as made:
        yield made


def test_two_hundred_worlds_that_are_always_the_same() -> None:
    done = simulation("--seeds", str(SAME))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_hundred_worlds_that_nobody_has_seen(pytestconfig: pytest.Config) -> None:
    first = int(pytestconfig.option.hypothesis_seed) % (1 << 32) + 1_000_000
    done = simulation("--seeds", str(NEW), "--from", str(first))
    assert done.returncode == 0, done.stdout + done.stderr


@settings(max_examples=100)
@given(scenario=SCENARIOS)
def test_whatever_happens(worlds: Worlds, scenario: Scenario) -> None:
    outcome = worlds.outcome(scenario)
    assert not outcome["fault"], f"{outcome['fault']}\npython -m tests.simulation --scenario '{scenario.text()}'"


def test_fifty_worlds_whose_imports_all_have_a_second_exit() -> None:
    done = simulation("--outlets", "--seeds", "50")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_seed_has_one_outcome(worlds: Worlds) -> None:
    told = simulation("--seeds", "10", "--from", "40", "--outcomes").stdout.splitlines()
    for seed, line in enumerate(told[:10], 40):
        outcome = worlds.outcome(scenario_of(seed))
        assert {"seed": seed, **outcome} == json.loads(line)
        assert outcome["seals"] > 50


def test_worlds_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Much happens in them: a world in which nothing moves would pass every check."""
    outcomes = [worlds.outcome(scenario_of(seed)) for seed in range(40)]
    counts: dict[str, int] = {}
    for outcome in outcomes:
        for name, n in outcome["counts"].items():
            counts[name] = counts.get(name, 0) + n
    assert sum(outcome["applications"] for outcome in outcomes) > 500
    assert sum(outcome["whole"] for outcome in outcomes) > 300
    assert sum(len(outcome["pauses_ms"]) for outcome in outcomes) > 40
    for what in ("lane silent", "lane bad-tag", "lane socket", "stream session-lost", "stream far-reset",
                 "hand-over", "hand-over given up", "renewal agreed", "renewal unheard", "renewal learned",
                 "steps mixed"):  # fmt: skip
        assert counts[what] > 0


def test_worlds_with_limits_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Each limit refuses, and every world passes its checks."""
    counts: Counter[str] = Counter()
    for seed in range(30):
        shape = replace(scenario_of(seed, outlets=bool(seed % 2)), quota=2 + seed % 3, quota_each=1 + seed % 2)
        if seed % 3 == 0:
            shape = replace(shape, quota_each=0)
        outcome = worlds.outcome(shape)
        assert outcome["fault"] == "", shape.text()
        counts.update(outcome["counts"])
    assert counts["stream limit"] > 0
    assert counts["stream organisation-limit"] > 0
    assert counts["stream done"] > 0


def test_worlds_with_datagrams_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Most are heard, many are not, and some come late, twice, or over steps of keys and hand-overs."""
    counts: Counter[str] = Counter()
    for seed in range(30):
        outcome = worlds.outcome(replace(scenario_of(seed), datagrams=True, clients=False))
        assert outcome["fault"] == "", seed
        counts.update(outcome["counts"])
    assert counts["datagrams said"] > 10_000
    assert counts["datagrams said"] / 4 < counts["datagrams heard"] < counts["datagrams said"]
    for what in ("datagrams late", "datagrams replayed", "hand-over"):
        assert counts[what] > 0, what


def test_worlds_with_clients_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Many are answered, and associations end in every way."""
    counts: Counter[str] = Counter()
    for seed in range(60):
        shape = scenario_of(seed)
        if not shape.clients:
            continue
        outcome = worlds.outcome(shape)
        assert outcome["fault"] == "", seed
        counts.update(outcome["counts"])
    assert counts["clients said"] > 5_000
    assert counts["clients said"] / 4 < counts["clients heard"]
    for what in ("done", "limit", "far-reset", "session-lost", "target-refused"):
        assert counts[f"association {what}"] > 0, counts
    assert counts["hand-over"] > 0


def test_worlds_with_clients_and_outlets_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Associations go either way, and are led on in both directions."""
    counts: Counter[str] = Counter()
    for seed in range(60):
        shape = scenario_of(seed, outlets=True)
        if not shape.clients:
            continue
        outcome = worlds.outcome(shape)
        assert outcome["fault"] == "", seed
        counts.update(outcome["counts"])
    assert counts["clients said"] / 4 < counts["clients heard"]
    for what in ("association led on", "association done", "association limit", "set-up refused", "hand-over"):
        assert counts[what] > 0, counts


# The edge that keeps the session, and both, are away when nothing happens any more; or one is back before the other.
KILLED_ALONE = [Operation("kill_edge", 0, 2_400)]
KILLED_TOGETHER = [Operation("kill_edge", 0), Operation("kill_edge", 1)]
BACK_IN_TURN = [Operation("kill_edge", 0, 600), Operation("kill_edge", 1)]


@pytest.mark.parametrize("killed", [KILLED_ALONE, KILLED_TOGETHER, BACK_IN_TURN])
def test_what_clients_say_in_the_end_has_two_edges_and_a_session(worlds: Worlds, killed: list[Operation]) -> None:
    """A client of each edge is asked, and no sooner: without a session an edge drops what is said, as it must."""
    for seed in (2, 4, 8):
        shape = Scenario(seed=seed, clients=True, delay_us=30_000, relays_linked=True, operations=killed)
        outcome = worlds.outcome(shape)
        assert outcome["fault"] == "", shape.text()
        assert outcome["counts"]["clients said"] == 2 * SAYS


def test_a_session_that_a_relay_refuses_is_asked_for_again_at_once(worlds: Worlds) -> None:
    """As by `session/table.py`: a refusal ends the attempt, and not the deadline of its set-up, which is 10 s."""
    for seed in (1, 3, 5, 7, 11):
        shape = Scenario(seed=seed, clients=True, delay_us=30_000, relays_linked=True, operations=BACK_IN_TURN)
        outcome = worlds.outcome(shape)
        assert outcome["fault"] == "", shape.text()
        assert outcome["sessions"] > 2
        assert outcome["virtual_ms"] < 15_000


def test_worlds_with_outlets_are_what_they_are_meant_to_be(worlds: Worlds) -> None:
    """Set-ups end in every way, and streams are led on and nudged."""
    counts: Counter[str] = Counter()
    for seed in range(60):
        counts.update(worlds.outcome(scenario_of(seed, outlets=True))["counts"])
    for what in ("set-up up", "set-up refused", "set-up silent", "set-up away", "set-up denied", "set-up local",
                 "set-up left", "set-up lost", "set-up early", "set-up cut", "stream marking",
                 "stream nudged"):  # fmt: skip
        assert counts[what] > 0, what
    assert counts["stream led on"] > 50


@pytest.mark.parametrize(("seed", "budget"), [(12, 400_000), (21, 400_000), (21, 524_288)])
def test_a_worker_with_little_memory_takes_a_whole_frame(worlds: Worlds, seed: int, budget: int) -> None:
    """Else each lane that brings one ends, and the next too. 524,288: as two of 64 workers have in the least node."""
    narrow = replace(
        scenario_of(seed), lanes=1, workers=2, room=3_000, delay_us=30_000, jitter_us=20_000, cap=1_048_576,
        budget=budget,
    )  # fmt: skip
    assert worlds.outcome(narrow)["fault"] == ""


def test_a_shadow_goes_with_the_node_that_made_it(worlds: Worlds) -> None:
    """Its other end is the control plane's, which is killed too, and hears no end of what the target says."""
    assert worlds.outcome(scenario_of(5023, outlets=True))["fault"] == ""


def test_a_worker_without_memory_for_datagrams_waits_and_does_not_spin(worlds: Worlds) -> None:
    """Its lane could take them, so that it tried again and again until they were too old."""
    assert worlds.outcome(scenario_of(1623717811))["fault"] == ""


@pytest.mark.parametrize("seed", [777001302, 777003855])
def test_what_one_worker_passes_to_another_is_handed_over(worlds: Worlds, seed: int) -> None:
    """With one lane all flows are on one worker, and the other passes on what it accepts."""
    assert worlds.outcome(scenario_of(seed))["fault"] == ""


def test_a_direct_stream_that_ends_as_its_node_is_settled_is_not_handed_over(worlds: Worlds) -> None:
    assert worlds.outcome(scenario_of(321003876, outlets=True))["fault"] == ""


def test_an_attempt_that_another_worker_has_no_memory_for_is_counted(worlds: Worlds) -> None:
    assert worlds.outcome(scenario_of(888003241, outlets=True))["fault"] == ""


def test_a_renewal_waits_for_the_steps_of_the_one_before(worlds: Worlds) -> None:
    """A step that is sent again after two more renewals names a secret that nobody keeps."""
    assert worlds.outcome(scenario_of(5000481))["fault"] == ""


@pytest.mark.parametrize("seed", range(3))
def test_an_answer_to_a_renewal_may_be_lost_and_no_other_begun_for_long(worlds: Worlds, seed: int) -> None:
    """The initiator's key is spent again and again in the 40 s after it, which is longer than it waits."""
    dice = random.Random(seed)
    busy = [Operation("connect", dice.getrandbits(24), 0x105, dice.getrandbits(24)) for _ in range(4)]
    unheard = Scenario(
        seed=seed, lanes=1 + seed, workers=1 + seed % 2, rekey_frames=5,
        operations=[
            *busy, Operation("wait", 4), Operation("renew", 0, 5, 3), Operation("renew", 1, 5, 3),
            *(each for _ in range(9) for each in (*busy, Operation("wait", 4, 2))),
        ],
    )  # fmt: skip
    outcome = worlds.outcome(unheard)
    assert outcome["fault"] == ""
    assert outcome["counts"]["renewal unheard"] >= 1
    assert outcome["counts"]["renewal learned"] >= 1
    assert "session mix-overdue" not in outcome["counts"]


def test_a_step_waits_for_a_renewal_in_the_next_process_too(worlds: Worlds) -> None:
    """An edge is handed over twice between its RENEWED and that of the other, which takes one plain step."""
    assert worlds.outcome(scenario_of(910480, outlets=True))["fault"] == ""


def test_a_stream_that_is_led_on_leaves_the_exporter_by_a_reset(worlds: Worlds) -> None:
    """The lane is held for longer than the opener has patience, in a world in which nothing else resets."""
    held = [Operation("wait", 2), *(Operation("hold_lane", pair, 0, 400) for pair in range(9))]
    patience = Scenario(
        seed=910480, lanes=1, delay_us=5_000, jitter_us=3_000, outlets=True, share=0, patience_ms=60,
        operations=[*held, *(Operation("connect", side, 0x1102, 5_000) for side in (0, 1, 2, 3))],
    )  # fmt: skip
    outcome = worlds.outcome(patience)
    assert outcome["fault"] == ""
    assert outcome["counts"]["set-up silent"] > 0
    assert outcome["counts"]["stream far-reset"] > 0


def test_an_application_that_is_let_go_early_or_resets_late_is_no_fault_of_the_node(worlds: Worlds) -> None:
    for seed in (777001834, 1095534034):
        assert worlds.outcome(scenario_of(seed))["fault"] == ""


def test_a_scenario_is_the_same_when_it_is_read_again() -> None:
    scenario = scenario_of(7)
    assert scenario_read(scenario.text()) == scenario
