"""Run what a cut-over must be shown to do, with its full numbers: python -m tests.acceptance [--only faults,judge].

It takes hours, so it is resumed: a case that was run at this commit with this seed is not run again, unless --anew.
Results are in build/acceptance/results.jsonl. The exit code is 0 if every case that was asked for was run and passed.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from tests.acceptance.cases import LISTS, Case
from tests.acceptance.results import Result, commit, done, keep, read
from tests.acceptance.running import run

SIGNS = {"passed": "ok  ", "failed": "FAIL", "late": "LATE"}


def chosen(only: str) -> dict[str, list[Case]]:
    """The cases of the lists that were asked for."""
    names = [name.strip() for name in only.split(",") if name.strip()] or list(LISTS)
    if unknown := [name for name in names if name not in LISTS]:
        raise SystemExit(f"acceptance: there is no list {', '.join(unknown)}; there are: {', '.join(LISTS)}")
    return {name: LISTS[name]() for name in names}


def shown(result: Result) -> str:
    figures = ", ".join(f"{name} {value}" for name, value in result.figures.items() if name != "said")
    told = figures or "; ".join(result.figures.get("said", ()))
    return f"{SIGNS[result.verdict]}  {result.case:<58} {result.seconds:>6.1f} s  {told}"


def table(lists: dict[str, list[Case]], found: dict[str, Result]) -> Iterator[str]:
    """How many of each list did what; then what did not pass."""
    yield f"{'list':<12}{'cases':>8}{'passed':>8}{'failed':>8}{'late':>8}{'not run':>9}{'seconds':>10}"
    for name, cases in lists.items():
        results = [found[case.name] for case in cases if case.name in found]
        counts = [sum(each.verdict == verdict for each in results) for verdict in SIGNS]
        seconds = sum(each.seconds for each in results)
        columns = "".join(f"{count:>8}" for count in (len(cases), *counts))
        yield f"{name:<12}{columns}{len(cases) - len(results):>9}{seconds:>10,.0f}"
    for case in (case for cases in lists.values() for case in cases):
        if (result := found.get(case.name)) is not None and result.verdict != "passed":
            yield f"{SIGNS[result.verdict]}  {result.case}: {result.log}"


def main(words: Sequence[str] | None = None) -> int:
    """Run what is not done yet, and answer the exit code."""
    parser = argparse.ArgumentParser(prog="acceptance", description="Show what a cut-over must do, in full numbers.")
    parser.add_argument("--only", default="", help=f"some of the lists, with commas: {', '.join(LISTS)}")
    parser.add_argument("--seed", type=int, default=1, help="of all that is by chance (1)")
    parser.add_argument("--anew", action="store_true", help="run again what was run at this commit")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin no case after so many; 0: all")
    parser.add_argument("--list", action="store_true", help="name the cases, and run none")
    arguments = parser.parse_args(words)
    lists = chosen(arguments.only)
    cases = [case for each in lists.values() for case in each]
    at = commit()
    found = {} if arguments.anew else done(read(), at, arguments.seed)
    if arguments.list:
        print("\n".join(f"{'done' if case.name in found else '    '}  {case.name}" for case in cases))
        return 0
    left = [case for case in cases if case.name not in found]
    print(f"{len(cases)} cases at {at[:12]}, {len(cases) - len(left)} done before; seed {arguments.seed}.", flush=True)
    last = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    try:
        for case in left:
            if time.monotonic() >= last:
                break
            result = run(case, arguments.seed, at)
            keep(result)
            found[case.name] = result
            print(shown(result), flush=True)
    except KeyboardInterrupt:
        print("Interrupted; the same command goes on with the case that was under way.")
    print("\n".join(table(lists, found)))
    return int(any(case.name not in found or found[case.name].verdict != "passed" for case in cases))


if __name__ == "__main__":
    # In the background a shell has SIGINT ignored; either signal ends the case that is under way with all of its nodes.
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.default_int_handler)
    sys.exit(main())
