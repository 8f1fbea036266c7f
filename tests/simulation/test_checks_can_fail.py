"""Each check of the simulation finds the fault that it is there for: the same world, with one fault made on purpose."""

import json
from dataclasses import replace

import pytest

from tests.simulation.scenario import Operation, Scenario
from tests.simulation.worlds import simulation

# Conversations of several sizes from both sides, none of which resets or pauses, and time for them.
CONNECTS = [Operation("connect", side, 0x1100 + size, 5_000) for side in range(4) for size in (0, 1, 4, 5, 6)]
GENTLE = Scenario(seed=11, operations=[*CONNECTS, Operation("wait", 4, 2), *CONNECTS])
# With a budget, even a large one, a stream may end before its time; then the other checks have the first word.
QUIET = replace(GENTLE, budget=16_777_216)
TALKING = replace(QUIET, datagrams=True)
ASKS = [Operation("ask", 0x10 + side, 20, 20_000) for side in (0, 1, 0, 1)]
ASKING = replace(GENTLE, clients=True, operations=[*ASKS, Operation("wait", 4, 2), *ASKS])


# More clients than there may be associations.
ASKING_TOO_MUCH = replace(ASKING, operations=[Operation("ask", 0x10 + side, 20, 20_000) for side in (0, 1) * 40])
# The same by UDP, over a network that does all it can, and over one that loses nothing.
BY_UDP = replace(ASKING, udp=31, wild=16, operations=[Operation("wait", 4, 1), *ASKING.operations])
BY_GOOD_UDP = replace(BY_UDP, wild=0)

# Every node is handed over while conversations go on, and once more.
HAND_OVERS = [Operation("hand_over", node, 1) for node in range(5)]
HANDED = replace(
    GENTLE,
    operations=[
        *CONNECTS, Operation("wait", 2), *HAND_OVERS, Operation("wait", 4, 2), *CONNECTS, Operation("wait", 1),
        *HAND_OVERS,
    ],
)  # fmt: skip
# Every link, and the session.
RENEWED = replace(
    GENTLE,
    operations=[
        *CONNECTS, *(Operation("renew", pair, 4 | what) for what in (0, 1) for pair in range(6)),
        Operation("wait", 4, 2), *CONNECTS, Operation("wait", 4, 2),
    ],
)  # fmt: skip

# The same over the direct outlet, beside an outlet that is tried, and with a hand-over in between.
SHADOWS = [Operation("shadow", side, what, 300) for side in (0, 1) for what in range(4)]
DIRECT = replace(
    GENTLE, outlets=True, share=100,
    operations=[*CONNECTS, *SHADOWS, *HAND_OVERS[3:], Operation("wait", 4, 2), *CONNECTS, Operation("wait", 4, 2)],
)  # fmt: skip
# For a while an outlet is not there, and the other one has to do.
GATEWAYLESS = [Operation("gateway_away", side, number, 2_400) for side in (0, 1) for number in (0, 1)]
REFUSED = [Operation("direct_target", side, number, 4_800) for side in (0, 1) for number in (0, 1)]
DIRECT_ALONE = replace(DIRECT, operations=[*GATEWAYLESS, *CONNECTS])
LED_ON = replace(DIRECT, operations=[*REFUSED, *CONNECTS])
# Datagrams over the direct outlet, and where it refuses them.
ASKING_SHADOWS = [Operation("shadow", side, what, 300) for side in (0, 1) for what in (2, 8)]
ASKING_DIRECT = replace(
    ASKING, outlets=True, share=100, operations=[*ASKS, *ASKING_SHADOWS, *HAND_OVERS[3:], *ASKING_SHADOWS, *ASKS]
)
GATEWAY_OF_DATAGRAMS_AWAY = [Operation("gateway_away", side, 2, 2_400) for side in (0, 1)]
ASKED_IN_VAIN = [Operation("datagram_target", side, 3, 4_900) for side in (0, 1)]
ASKING_LED_ON = replace(ASKING_DIRECT, operations=[*ASKED_IN_VAIN, *ASKS])
# Some are let go in order, and may say less than all.
NUDGED = replace(DIRECT, operations=[*CONNECTS, Operation("nudge", 0, 0x112, 0), *CONNECTS])


SEVERAL = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, *range(7, 200, 24))
FEW = (1, 5, 21, 55)  # of worlds that take long


def found_by(fault: str, scenario: Scenario = QUIET, chances: tuple[int, ...] = SEVERAL) -> set[str]:
    """The checks that speak up when the fault strikes at several places, a world each."""
    done = simulation("--scenario", scenario.text(), "--fault", fault, "--fault-in", *map(str, chances))
    assert done.returncode == 1, done.stdout + done.stderr
    return {json.loads(line)["fault"].partition(":")[0] for line in done.stdout.splitlines()} - {""}


def test_without_a_fault_all_is_well() -> None:
    datagrams = (TALKING, ASKING, ASKING_TOO_MUCH, BY_UDP, BY_GOOD_UDP, ASKING_DIRECT, ASKING_LED_ON)
    for scenario in (GENTLE, QUIET, HANDED, RENEWED, DIRECT, DIRECT_ALONE, LED_ON, NUDGED, *datagrams):
        done = simulation("--scenario", scenario.text())
        assert done.returncode == 0, done.stdout + done.stderr


# The first of the checks must find the fault. The others may: what is missing at the end of a stream, say, is a wrong
# end and no wrong byte.
@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("dropped_frame", "bytes whole ends"),  # behind the hop, by an edge that had opened it
        ("swallowed_write", "bytes whole"),
        ("doubled_write", "bytes whole"),
        ("early_end", "whole"),
        ("phantom", "once bytes"),
        ("wrong_target", "service"),
        ("reused_nonce", "nonces"),
        ("leaked_buffer", "memory"),
        ("forgotten_close", "descriptors ends"),  # an application waits for it, or nobody does
        ("stuck_wake", "spinning"),
        ("lost_wake", "ends"),
    ],
)
def test_the_fault_is_found_by_its_check(fault: str, checks: str) -> None:
    found = found_by(fault)
    first, *others = checks.split()
    assert first in found
    assert found <= {first, *others}


def test_a_datagram_that_is_heard_twice_is_found() -> None:
    assert found_by("doubled_datagrams", TALKING) == {"datagrams"}


@pytest.mark.parametrize(
    ("fault", "scenario", "checks"),
    [
        # A number that was taken is taken again: of a packet, or of the datagrams in it.
        ("open_window", BY_UDP, "packets datagrams"),
        ("blind_tag", BY_UDP, "packets"),
        ("unheard_silence", BY_GOOD_UDP, "udp"),
        ("swallowed_packet", BY_GOOD_UDP, "account"),
        ("uncounted_drop", ASKING_TOO_MUCH, "account"),
    ],
)
def test_a_fault_of_udp_lanes_is_found_by_its_check(fault: str, scenario: Scenario, checks: str) -> None:
    first, *others = checks.split()
    found = found_by(fault, scenario, FEW)
    assert first in found
    assert found <= {first, *others}


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("crossed_answer", "clients"),
        ("shared_port", "clients"),
        ("other_address", "addresses"),
        ("torn_datagram", "datagrams"),
        ("unheard_clients", "datagrams"),
    ],
)
@pytest.mark.parametrize("scenario", [ASKING, ASKING_DIRECT], ids=["gateway", "direct"])
def test_a_client_that_is_served_wrongly_is_found(fault: str, check: str, scenario: Scenario) -> None:
    assert found_by(fault, scenario) == {check}


def test_a_stream_that_ends_before_its_time_is_found() -> None:
    assert found_by("stray_reset", GENTLE) == {"outlives"}
    # An edge that takes a bundle twice: mostly its own checks of credit and state end the session.
    assert "outlives" in found_by("doubled_bundle", GENTLE) <= {"outlives", "bytes"}


def test_a_relay_that_says_nothing_of_a_lost_lane_is_found() -> None:
    """Its frames were under way between two relays, and none followed that would have shown the gap."""
    cuts = [Operation("cut_lane", pair, 0, 1) for pair in (6, 7, 8)]
    between = Scenario(
        seed=0, lanes=1, delay_us=5_000, jitter_us=0, relays_linked=True,
        operations=[Operation("connect", 0, 0x1104, 5_000), Operation("wait", 1, 0), *cuts],
    )  # fmt: skip
    assert simulation("--scenario", between.text()).returncode == 0
    assert found_by("silent_relay", between) == {"outlives"}


@pytest.mark.parametrize(
    ("fault", "checks"),
    [
        ("two_places", "nonces"),  # the old process seals once more after the new one has begun
        ("blanked_record", "bytes outlives"),  # what was on its way is not in the record
        ("kept_descriptor", "descriptors"),  # the old process does not let one go
    ],
)
def test_a_hand_over_that_goes_wrong_is_found(fault: str, checks: str) -> None:
    first, *others = checks.split()
    found = found_by(fault, HANDED)
    assert first in found
    assert found <= {first, *others}


@pytest.mark.parametrize("limits", [{"quota": 2}, {"quota_each": 2}, {"quota": 3, "quota_each": 2}])
def test_a_process_that_forgets_the_limits_of_its_exports_is_found(limits: dict[str, int]) -> None:
    limited = replace(HANDED, **limits)
    outcome = json.loads(simulation("--scenario", limited.text()).stdout)
    assert outcome["fault"] == ""
    cause = "organisation-limit" if "quota_each" in limits else "limit"
    assert outcome["counts"][f"stream {cause}"] > 0
    assert found_by("unbounded", limited) == {"quota"}


def test_a_renewal_that_is_named_too_early_is_found() -> None:
    # What is sealed with it before the other end can open it is lost, and a stream may be, too.
    assert "mixes" in found_by("early_mix", RENEWED) <= {"mixes", "outlives"}


def test_a_renewal_whose_ends_have_not_the_same_secret_is_found() -> None:
    assert found_by("other_secret", RENEWED) == {"outlives"}


@pytest.mark.parametrize(
    ("fault", "scenario", "checks"),
    [
        # What the gateway must not do, a direct outlet must not do either.
        ("swallowed_write", DIRECT, "bytes whole sums"),
        ("doubled_write", DIRECT, "bytes whole sums"),
        ("early_end", DIRECT, "whole outlives"),
        ("early_end", NUDGED, "whole sums outcomes"),
        ("phantom", DIRECT, "once bytes"),
        ("wrong_target", DIRECT, "service"),
        ("leaked_buffer", DIRECT, "memory"),
        ("forgotten_close", DIRECT, "descriptors ends"),
        ("lost_wake", DIRECT, "ends"),
        ("kept_descriptor", DIRECT, "descriptors"),
        ("stray_reset", DIRECT, "outlives"),
        # What outlets have of their own.
        ("not_led_on", LED_ON, "ends"),
        ("failed_direct", DIRECT_ALONE, "led"),
        ("miscounted", DIRECT, "outcomes sums"),
        ("unheard_end", DIRECT, "told outcomes sums"),
        # The same of datagrams.
        ("not_led_on", ASKING_LED_ON, "ends"),
        ("failed_direct", replace(ASKING_DIRECT, operations=[*GATEWAY_OF_DATAGRAMS_AWAY, *ASKS]), "led"),
        ("miscounted", ASKING_DIRECT, "outcomes sums"),
        ("leaked_buffer", ASKING_DIRECT, "memory"),
    ],
)
def test_a_fault_of_an_outlet_is_found_by_its_check(fault: str, scenario: Scenario, checks: str) -> None:
    first, *others = checks.split()
    found = found_by(fault, scenario)
    assert first in found
    assert found <= {first, *others}
