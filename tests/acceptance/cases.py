"""The cases of `make acceptance`, in lists by name: each is a command that ends by itself and writes its figures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.scenarios.kit.gateway_faults import FAULTS

SCENARIOS = "tests/scenarios"


@dataclass(frozen=True)
class Case:
    """One case: its exit code is 0 if what is required held."""

    name: str
    command: Callable[[int, Path], list[str]]  # of a seed, and where it writes its figures
    seconds: float  # then it is late


def scenario(name: str, test: str, *options: str, seconds: float = 300.0, number: int = 0) -> Case:
    """One test of the scenarios; a case that is one of several with the same test has a number, and so another seed."""

    def command(seed: int, figures: Path) -> list[str]:
        return [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--acceptance"),
            # The test is told before its process, so that it ends what it began.
            *(f"--timeout={seconds - 20:g}", f"--figures={figures}", f"--power-cut-seed={1_000 * seed + number}"),
            *options,
            f"{SCENARIOS}/{test}",
        ]

    return Case(name, command, seconds)


def judged(part: str, runs: int) -> Case:
    """One part of the simulated judge."""

    def command(seed: int, figures: Path) -> list[str]:
        chance = ["--seed", str(657 + seed), "--runs", str(runs)]
        return [sys.executable, "-m", "tests.acceptance.judge", *chance, "--part", part, "--figures", str(figures)]

    return Case(f"judge: {part}, {runs} runs", command, 900.0)


def faults() -> list[Case]:
    """Each fault of the gateway's side alone at each of five steps, and what they are held against."""
    test = "test_a_canary_that_fails_falls_back_before_anybody_notices.py::"
    test += "test_new_streams_go_back_and_no_connection_fails[{}-{}]"
    return [
        scenario(f"faults: {fault} at {share} %", test.format(share, fault), seconds=420)
        for fault in (each.name for each in FAULTS)
        for share in (1, 5, 25, 50, 100)
    ]


def drills() -> list[Case]:
    """Twenty drills of each of three kinds under live traffic."""
    backup = "test_a_drill_shows_that_a_back_up_works.py::test_twenty_drills_and_nobody_notices"
    loss = "test_a_drill_shows_that_a_loss_is_survived.py::test_twenty_losses_and_no_stream_with_them[{}]"
    return [
        scenario("drills: 20 of a back-up", backup, seconds=600),
        scenario("drills: 20 losses of a relay", loss.format("relay-loss"), seconds=600),
        scenario("drills: 20 losses of a network", loss.format("bearer-loss"), seconds=600),
    ]


def judge() -> list[Case]:
    """100 simulated runs of each row."""
    return [judged(part, 100) for part in ("alarms", "gates", "slowness", "defaults")]


def moves() -> list[Case]:
    """Real moves: with real clients, and of equal and slower outlets."""
    move = "test_a_service_moves_from_the_old_network_and_nobody_notices.py::"
    gate = "test_a_gate_opens_for_equal_outlets_and_not_for_a_slower_one.py::"
    gate += "test_the_gate_opens_within_two_soaks_or_does_not[{}]"
    clients = move + "test_real_clients_of_five_services_notice_nothing"
    return [
        scenario("moves: real clients, soak of 20 s", clients, "--move-soak=20", seconds=900),
        scenario("moves: 10 of equal outlets", gate.format("equal"), "--gate-runs=10", seconds=900),
        scenario("moves: 10 of a slower outlet", gate.format("slower"), "--gate-runs=10", seconds=900),
    ]


def targets() -> list[Case]:
    """A target that is down on both sides, and a service with few connections."""
    file = "test_a_cut_over_meets_what_may_befall_it.py::"
    down = file + "test_a_target_that_is_down_in_every_step_only_makes_it_later"
    rare = file + "test_a_rare_service_goes_back_after_one_connection_that_succeeds[{}]"
    return [
        scenario("targets: down for 30 s in each step", down, "--target-down=30", seconds=900),
        *(scenario(f"targets: a rare service, run {run} of 5", rare.format(run)) for run in range(1, 6)),
    ]


def cuts() -> list[Case]:
    """200 power cuts and 50 upgrades at random moments, in portions."""
    file = "test_a_cut_over_survives_a_power_cut_and_an_upgrade.py"
    power, upgrade = (
        f"{file}::test_it_is_never_further_than_was_written_after_a_power_cut",
        (f"{file}::test_an_upgrade_in_the_middle_of_a_step_loses_nothing"),
    )
    return [
        *(
            scenario(f"cuts: power, portion {n} of 20", power, "--power-cuts=10", seconds=400, number=n)
            for n in range(1, 21)
        ),
        *(
            scenario(f"cuts: upgrades, portion {n} of 10", upgrade, "--cut-over-upgrades=5", seconds=400, number=n)
            for n in range(1, 11)
        ),
    ]


def paper() -> list[Case]:
    """Days of quiet and retirement, 200 realms of which Part 1 names nothing, and what axe and a printer say."""
    quiet = "test_an_old_way_is_retired_only_when_it_is_quiet.py::"
    read = "test_what_people_read_is_accessible_and_marked_on_each_page.py::"
    return [
        scenario("paper: an old way is retired", f"{quiet}test_an_old_way_is_retired_only_when_it_is_quiet"),
        scenario("paper: a day without the node", f"{quiet}test_a_day_on_which_the_node_was_away_is_not_quiet"),
        scenario("paper: axe", f"{read}test_axe_finds_nothing"),
        scenario("paper: print", f"{read}test_each_printed_page_has_its_marking_at_the_top_and_at_the_bottom"),
        scenario("paper: 200 realms", f"{read}test_part_1_of_two_hundred_realms_names_nothing_of_them"),
    ]


def audited(part: str, runs: int, name: str) -> Case:
    """One part of what is examined of audit logs."""

    def command(seed: int, figures: Path) -> list[str]:
        words = ["--part", part, "--runs", str(runs), "--seed", str(seed), "--figures", str(figures)]
        return [sys.executable, "-m", "tests.acceptance.audit", *words]

    return Case(name, command, 900.0)


def reading() -> list[Case]:
    """Audit logs: a changed bit is found in 100 of 100 places, and ten million records are examined in time."""
    return [
        audited("flips", 100, "reading: 100 bits of records, tiles and checkpoints"),
        audited("verify", 10_000_000, "reading: 10,000,000 records examined"),
        audited("year", 100_000, "reading: 100,000 heads, of 70 days of a node"),
    ]


def writing() -> list[Case]:
    """Audit logs: 500 kills in portions, and how many records a second are written."""

    def kills(number: int) -> Case:
        def command(seed: int, figures: Path) -> list[str]:
            words = ["--runs", "50", "--seed", str(1_000 * seed + number), "--figures", str(figures)]
            return [sys.executable, "-W", "ignore", "-m", "tests.acceptance.audit_kills", *words]

        return Case(f"writing: 50 kills, portion {number} of 10", command, 400.0)

    return [
        audited("write", 1_000_000, "writing: 1,000,000 records as fast as they are taken"),
        *(kills(number) for number in range(1, 11)),
    ]


LISTS: dict[str, Callable[[], list[Case]]] = {
    "judge": judge,
    "moves": moves,
    "targets": targets,
    "faults": faults,
    "cuts": cuts,
    "drills": drills,
    "paper": paper,
    "reading": reading,
    "writing": writing,
}
