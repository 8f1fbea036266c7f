"""Count what the judge does in simulated cut-overs: python -m tests.acceptance.judge [--runs 100] [--seed 658].

Every row is one question of the design with the figure that it has to reach. It exits with 1 if one is missed. Some of
the parts alone: --part gates. What was found is written as JSON where --figures says.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pcgrelay.cutover.samples import Limits
from tests.acceptance import judged
from tests.acceptance.judged import Route, Step, failures_until, falls_back, is_false_alarm

Generator = np.random.Generator


class Row(NamedTuple):
    """One line of the table."""

    what: str
    found: str
    wanted: str
    is_met: bool


def generator(seed: int, *numbers: int) -> Generator:
    """Chance of its own for each run, so that one can be run alone."""
    return np.random.default_rng([seed, *numbers])


def steps(seed: int, runs: int, old: Route, new: Route, per_soak: int, **more: object) -> list[Step]:
    """So many steps of two soaks."""
    return [Step(generator(seed, run), old, new, per_soak, **more).run() for run in range(runs)]  # type: ignore[arg-type]


def gates(seed: int, runs: int) -> Iterator[Row]:
    """Which routes open the gate within two soaks."""
    few = Route(failures=0.001)
    equal, part = "equal, {} a soak, failures {}", "opened {} of {}, {} bad"
    for per_soak, failures, share, is_wanted in (
        (200, 0.0, 0.01, False),
        (400, 0.001, 0.25, False),
        (1_000, 0.001, 0.25, True),
    ):
        route = Route(failures=failures)
        done = steps(seed, runs, route, route, per_soak, share=share)
        opened, bad = _opened(done), _bad(done)
        met = opened >= 0.95 * runs and bad <= 0.01 * runs
        wanted = ">= 95 %, <= 1 % bad" if is_wanted else "told, not asked for"
        name = equal.format(per_soak, f"{failures:.1%}")
        yield Row(name, part.format(opened, runs, bad), wanted, met or not is_wanted)
    for name, new, most in (
        ("10 % slower (margin 10 %)", Route(failures=0.001, slower=0.1), 0.05),
        ("1 % more failures (margin 1 %)", Route(failures=0.011), 0.05),
        ("1 % of packets lost: 2 % of set-ups", Route(failures=0.001, lost=0.02), 0.0),
    ):
        done = steps(seed, runs, few, new, 1_000, share=0.25)
        found = part.format(_opened(done), runs, _bad(done))
        yield Row(name, found, f"opened <= {most:.0%}", _opened(done) <= most * runs)


def slowness(seed: int, runs: int) -> Iterator[Row]:
    """How soon a gateway that becomes slow is bad."""
    for name, new, old in (
        ("20 % slower", Route(slower=0.2), Route()),
        ("+50 ms", Route(later_us=50_000), Route()),
        ("a tenth of the rate, 10 % bulk", Route(bulk=0.1, rate=0.1), Route(bulk=0.1)),
    ):
        done = steps(seed, runs, old, new, 1_000, share=0.25)
        at = sorted(step.bad_at for step in done if step.bad_at is not None)
        found = f"bad {len(at)} of {runs}, at {at[len(at) // 2] if at else 0:,} set-ups (median)"
        yield Row(f"{name} from the start", found, "all bad, none opened", len(at) == runs and not _opened(done))
    after = []
    for run in range(runs):
        step = Step(generator(seed, run), Route(), Route(), 2_000, share=0.25).run(0.7)
        before = step.setups
        step.new_route = Route(later_us=50_000)
        step.run(0.3)
        after.append((step.bad_at - before) if step.bad_at is not None else 10**6)
    found = f"bad after {int(np.median(after))} set-ups (median), {max(after)} at most"
    # A poll here is 100 set-ups wide, so what is seen within 64 is seen at the next poll or the one after it.
    yield Row("+50 ms after 1,400 good set-ups", found, "<= 64 and one poll of 100", max(after) <= 200)


def alarms(seed: int, runs: int) -> Iterator[Row]:
    """When failures raise the alarm, and when they must not."""
    for share, at in ((0.01, 2), (0.05, 3), (0.25, 6), (0.5, 11)):
        found = failures_until(generator(seed, 0), share, 1e12)
        yield Row(f"dead, share {share:.0%}: odds of 1,000 at failure", f"{found}", f"{at}", found == at)
    for share, median, high in ((0.01, 49, 138), (0.05, 15, 40), (0.25, 11, 24), (0.5, 16, 29)):
        chance = generator(seed, 1)
        counts = [failures_until(chance, share, 10.0) for _ in range(20 * runs)]
        found = f"{int(np.median(counts))} / {int(np.percentile(counts, 95))}"
        near = abs(np.median(counts) - median) <= 0.2 * median and abs(np.percentile(counts, 95) - high) <= 0.2 * high
        yield Row(f"ten times as often, share {share:.0%}: failures", found, f"{median} / {high}", bool(near))
    for share in (0.01, 0.05, 0.25, 0.5):
        chance = generator(seed, 2)
        false = sum(is_false_alarm(chance, share) for _ in range(200 * runs))
        found = f"{false / (2 * runs):.3f} %"
        yield Row(f"equal, share {share:.0%}: odds of 1,000 within 10 failures", found, "<= 0.3 %", false <= 0.6 * runs)
    for share in (0.01, 0.05, 0.25, 0.5, 1.0):
        false = sum(falls_back(generator(seed, 3, run), share, 10_000, 0.001, 0.001) is not None for run in range(runs))
        name = f"equal, 0.1 % fail, 10,000 set-ups, share {share:.0%}: fell back"
        yield Row(name, f"{false} of {runs}", "<= 1 %", false <= 0.01 * runs)
    for share in (0.01, 0.05, 0.25):
        ats = [falls_back(generator(seed, 4, run), share, 10_000, 1.0, 0.001) for run in range(runs)]
        first, last = sum(at == 1 for at in ats), max(at or 10**6 for at in ats)
        # A pair that fails on both (1.2 % of bursts have one here) speaks for the new outlet; then the next burst
        # decides.
        found = f"at failure 1 in {first} of {runs}, at {last} at the latest"
        yield Row(
            f"dead, share {share:.0%}, with pairs: fell back",
            found,
            "1 in >= 95 %, 2",
            first >= 0.95 * runs and last <= 2,
        )


def _opened(done: list[Step]) -> int:
    return sum(step.opened_at is not None for step in done)


def _bad(done: list[Step]) -> int:
    return sum(step.bad_at is not None for step in done)


def defaults(seed: int, runs: int) -> Iterator[Row]:
    """Whether equal outlets of short times pass the margins that a plan has unless told."""
    judged.SETUP_US, judged.ANSWER_US = 12_000.0, 4_000.0
    for per_soak, failures in ((200, 0.0), (600, 0.001)):
        route = Route(failures=failures)
        done = steps(seed, runs, route, route, per_soak, share=0.25, limits=Limits())
        name = f"equal, 12 ms, margins as given by default, {per_soak} a soak, failures {failures:.1%}"
        found = f"opened {_opened(done)} of {runs}, {_bad(done)} bad"
        is_wanted = per_soak >= 600
        wanted = ">= 95 %" if is_wanted else "told, not asked for"
        yield Row(name, found, wanted, not is_wanted or _opened(done) >= 0.95 * runs)


PARTS: dict[str, Callable[[int, int], Iterator[Row]]] = {
    "alarms": alarms,
    "gates": gates,
    "slowness": slowness,
    # It changes the times of the simulation, and so is the last.
    "defaults": defaults,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Count what the judge does in simulated cut-overs.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=658)
    parser.add_argument("--part", choices=PARTS, action="append", help="one of its parts, or several; all unless told")
    parser.add_argument("--figures", type=Path)
    arguments = parser.parse_args()
    missed, found = 0, {}
    for row in (row for part in arguments.part or PARTS for row in PARTS[part](arguments.seed, arguments.runs)):
        missed += not row.is_met
        found[row.what] = row.found
        print(f"{'ok  ' if row.is_met else 'MISS'}  {row.what:<62}  {row.found:<36}  {row.wanted}", flush=True)
    if arguments.figures is not None:
        arguments.figures.write_text(json.dumps(found))
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
