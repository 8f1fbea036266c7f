"""Run the Promela models with spin, and hold their results to what is expected.

usage: docs/proofs/spin.py        spin and gcc are Debian's

Each run is a model with at most one definition. Without one it is what the code does, and must hold: no assertion
fails, and no run stops but where it may (`holds`), and each run ends (`ends`); so it must with an OLDER_X that it works
with. With BROKEN_X it is broken on purpose, and with REACH_X it says that a good end is never reached: both must be
refuted. A search that was cut off is no result.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from provers import UNAVAILABLE, Missing, digest_rows

HERE = Path(__file__).resolve().parent / "promela"
RESULTS = HERE / "results.md"
DEPTH = 10_000
SECONDS = 300
HOLDS, ENDS = "holds", "ends"
REFUTED = {"assertion violated": "assertion", "invalid end state": "stuck", "non-progress cycle": "cycle"}
LARGE = {"resume", "handover", "takeover"}
SMALLER = {"resume": "-DCAUSES=1"}  # whether each run ends is asked of a smaller world
MISSING = "The models need spin and gcc; install them with: apt-get install spin gcc libc6-dev"


class SpinProblem(Exception):
    """A model could not be run to its end."""


@dataclass(frozen=True, slots=True)
class Run:
    """One search. expected: HOLDS, ENDS, or what refutes it."""

    model: str
    define: str
    expected: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found. states: how many it stored."""

    run: Run
    found: str
    states: int


def _runs(model: str, *broken: str, reach: tuple[str, ...], cycles: tuple[str, ...] = ()) -> list[Run]:
    twins = [Run(model, f"BROKEN_{each}", "assertion") for each in broken]
    twins += [Run(model, f"REACH_{each}", "assertion") for each in reach]
    return [
        Run(model, "", HOLDS),
        Run(model, "", ENDS),
        *twins,
        *(Run(model, f"BROKEN_{each}", "cycle") for each in cycles),
    ]


PLAN = [
    *_runs("link", "SAME_GENERATION", "READS_EARLY", "TELLS_UNKEPT", "NO_END", reach=("RENEWED",)),
    *_runs("lanes", "REUSE", "KEEPS", "OLD_WINS", reach=("REPLACED",), cycles=("FOR_EVER",)),
    *_runs(
        "renewal",
        "UNLEARNT",
        "COUNTS_AT_ONCE",
        "TWO_UNHEARD",
        "TELLS_UNKEPT",
        "IMPATIENT",
        "NO_STEP_FIRST",
        reach=("RENEWED",),
    ),
    Run("renewal", "OLDER_RESPONDER", HOLDS),
    Run("renewal", "OLDER_RESPONDER", ENDS),
    *_runs("takeover", "NO_FREEZE", "FORGETS_TOLD", "FORGETS_SECRET", "FORGETS_WAIT", reach=("BETWEEN",)),
    Run("takeover", "OLDER_RESPONDER", HOLDS),
    *_runs("glare", "NOBODY_DECIDES", "BOTH_DECIDE", "NOT_FOLLOWED", "BOTH_REFUSE", reach=("GREATER",)),
    *_runs("resume", "NO_PROOF", "NO_INSTEAD", "STALE", "LEAVES_PLACES", reach=("RESUMED",)),
    *_runs("handover", "STARTS_EARLY", "GOES_ON", "NO_FREEZE", "LATE_GO", reach=("TAKEN", "SECOND")),
    Run("handover", "BROKEN_NO_DEADLINE", "stuck"),
]


def models() -> list[Path]:
    """The models, by name."""
    return sorted(HERE.glob("*.pml"))


def searched(run: Run) -> Result:
    """Run one search. SpinProblem: there is no result."""
    of_cycles = run.expected in (ENDS, "cycle")
    with tempfile.TemporaryDirectory(prefix="pcgrelay-spin-") as folder:
        define = [f"-D{run.define}"] if run.define else []
        define += [SMALLER[run.model]] if of_cycles and run.model in SMALLER else []
        # Most searches are done at once: what takes the time is the compiler.
        optimised = "-O1" if run.model in LARGE and not run.define else "-O0"
        _called(["spin", "-a", *define, str(HERE / f"{run.model}.pml")], folder)
        _called(["gcc", optimised, "-w", "-DNP" if of_cycles else "-DSAFETY", "-o", "pan", "pan.c"], folder)
        said = _called(["./pan", f"-m{DEPTH}", *(["-l"] if of_cycles else [])], folder)
    return Result(run, found(said, run), int(float(re.search(r"([\d.e+]+) states, stored", said)[1])))  # type: ignore[index]


def found(said: str, run: Run) -> str:
    """Return in a word what the search found, from what `pan` says."""
    errors = re.search(r"errors: (\d+)", said)
    is_cut = re.search(r"max search depth too small|out of memory", said)
    if errors is None or (is_cut and errors[1] == "0"):
        raise SpinProblem(f"{run.model} {run.define}: the search was cut off")
    if errors[1] == "0":
        return ENDS if "non-progress cycles\t+" in said or "non-progress cycles \t+" in said else HOLDS
    return next((word for sentence, word in REFUTED.items() if f"pan:1: {sentence}" in said), "error")


def _called(command: list[str], folder: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise SpinProblem(f"{' '.join(command)}: no result in {SECONDS} s") from None
    if done.returncode and command[0] != "./pan":
        raise SpinProblem(f"{' '.join(command)}: {(done.stdout + done.stderr).strip()}")
    return done.stdout + done.stderr


def check() -> None:
    """Look for what a run needs. Missing: spin or gcc is not there."""
    if not shutil.which("spin") or not shutil.which("gcc"):
        raise Missing(MISSING)


def all_results() -> list[Result]:
    """Run the whole plan, two searches at a time. SpinProblem: there is no result."""
    check()
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(searched, PLAN))


def record(results: list[Result]) -> str:
    """Return the text of results.md."""
    differ = sum(each.found != each.run.expected for each in results)
    rows = [
        f"| {each.run.model} | {each.run.define or 'as it is'} | {each.run.expected} | {each.found} | {each.states:,} "
        f"| {'' if each.found == each.run.expected else '**DIFFERS**'} |"
        for each in results
    ]
    return "\n".join(
        [
            "# Results of the Promela models",
            "",
            "Written by `docs/proofs/spin.py`; a test runs the same, and compares.",
            "",
            *digest_rows(HERE, models()),
            "",
            "| model | variant | expected | result | states | |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"{differ} results differ from what was expected.",
            "",
        ]
    )


def prove(wanted: set[str]) -> int:
    """Run all, since it takes seconds, and write the record; return how many results differ from what is expected.

    wanted: names of models, for the caller. Missing: spin or gcc is not there.
    """
    results = all_results()
    for each in results:
        differs = "" if each.found == each.run.expected else f", expected: {each.run.expected}"
        print(f"{each.run.model} {each.run.define or 'as it is'}: {each.found} ({each.states:,} states){differs}")
    RESULTS.write_text(record(results))
    return sum(each.found != each.run.expected for each in results)


def main() -> int:
    """Run all the models of spin."""
    try:
        return int(prove(set()) > 0)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main())
