"""Runs worlds by their seeds, one after another. A seed has one outcome; what failed is made smaller, and repeated by
the command that is printed."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from tests.simulation.sabotage import core_sabotaged
from tests.simulation.scenario import Scenario, scenario_of, scenario_read
from tests.simulation.virtual import FAULTS

if TYPE_CHECKING:
    from tests.simulation.world import Outcome

Run = Callable[[Scenario], "Outcome"]
FAILURES_MOST = 5  # worlds that are made smaller and printed; more of them say little
SUMS = ("applications", "whole", "bytes", "seals", "turns", "virtual_ms", "links", "sessions")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=300, help="how many worlds (300)")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="K", help="the first seed (0)")
    parser.add_argument("--outlets", action="store_true", help="only worlds whose imports have outlets")
    parser.add_argument("--udp", action="store_true", help="only worlds with UDP lanes")
    parser.add_argument("--scenario", help="one scenario, as a failure prints it, instead of seeds")
    parser.add_argument("--outcomes", action="store_true", help="print the outcome of each world, a line of JSON each")
    parser.add_argument("--serve", action="store_true", help="run the scenarios that come as lines, answer as lines")
    parser.add_argument("--fault", choices=FAULTS[:-1], help="a fault on purpose, which a check must find")
    parser.add_argument(
        "--fault-in", type=int, nargs="+", default=[20], metavar="N", help="at this chance, a run for each (20)"
    )
    arguments = parser.parse_args()
    core_sabotaged(arguments.fault or "")
    from tests.simulation.world import outcome_of

    def run(scenario: Scenario, chance: int = arguments.fault_in[0]) -> "Outcome":
        return outcome_of(scenario, (arguments.fault, chance) if arguments.fault else None)

    if arguments.serve:
        return served(run)
    if arguments.scenario:
        outcomes = [run(scenario_read(arguments.scenario), chance) for chance in arguments.fault_in]
        for outcome in outcomes:
            print(json.dumps(asdict(outcome)))
        return 1 if any(outcome.fault for outcome in outcomes) else 0
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    return run_seeds(run, seeds, arguments.outlets, arguments.udp, told=arguments.outcomes)


def served(run: Run) -> int:
    for line in sys.stdin:
        print(json.dumps(asdict(run(scenario_read(line)))), flush=True)
    return 0


def run_seeds(run: Run, seeds: range, outlets: bool, udp: bool, *, told: bool) -> int:
    began = time.time()
    sums: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    pauses_ms: list[int] = []
    failed: list[int] = []
    for seed in seeds:
        scenario = scenario_of(seed, outlets=outlets, udp=udp)
        outcome = run(scenario)
        sums.update({name: getattr(outcome, name) for name in SUMS})
        counts.update(outcome.counts)
        pauses_ms += outcome.pauses_ms
        if told:
            print(json.dumps({"seed": seed, **asdict(outcome)}))
        if outcome.fault:
            failed.append(seed)
            print(f"simulation: seed {seed}: {outcome.fault}", flush=True)
            if len(failed) <= FAILURES_MOST and not told:
                print_smaller(run, scenario, outcome.check, " --outlets" * outlets + " --udp" * udp)
    took = f"{time.time() - began:.1f} s"
    print(f"simulation: {len(seeds):,} worlds from seed {seeds.start}, {len(failed):,} failed, {took}")
    print(
        f"  {sums['virtual_ms'] / 1000:,.0f} virtual seconds, {sums['turns']:,} turns, {sums['seals']:,} seals, "
        f"{sums['links']:,} links, {sums['sessions']:,} sessions, {len(pauses_ms):,} resumptions"
    )
    print(f"  {sums['applications']:,} applications, {sums['whole']:,} ended whole, {sums['bytes']:,} bytes heard")
    print(f"  {counts['clients said']:,} datagrams of clients, {counts['clients heard']:,} answers heard")
    print(f"  {counts['udp packets_sent']:,} packets of UDP lanes, {counts['udp datagrams']:,} of them with datagrams")
    for kind in ("stream", "association", "session", "lane", "udp-lane", "set-up"):
        ends = {name.partition(" ")[2]: n for name, n in sorted(counts.items()) if name.startswith(kind + " ")}
        print(f"  {kind} ends: " + ", ".join(f"{name} {n:,}" for name, n in ends.items()))
    if failed:
        print(f"  seeds that failed: {' '.join(map(str, failed[:50]))}")
    return 1 if failed else 0


def print_smaller(run: Run, scenario: Scenario, check: str, others: str) -> None:
    small = smaller(run, scenario, check)
    print(f"  repeat it with: python -m tests.simulation --from {scenario.seed} --seeds 1{others}")
    print(f"  or, with {len(small.operations)} of its {len(scenario.operations)} operations:")
    print(f"  python -m tests.simulation --scenario '{small.text()}'", flush=True)


def smaller(run: Run, scenario: Scenario, check: str) -> Scenario:
    """The same failure with fewer operations: parts are left out, ever smaller ones."""
    size = len(scenario.operations) // 2
    while size:
        at = 0
        while at < len(scenario.operations):
            fewer = scenario.operations[:at] + scenario.operations[at + size :]
            attempt = replace(scenario, operations=fewer)
            if run(attempt).check == check:
                scenario = attempt
            else:
                at += size
        size //= 2
    return scenario
