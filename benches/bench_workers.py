"""What a request and an opened stream cost two edges with 1, 2 and 4 workers: counts, and processor time.

    python -m benches.bench_workers [--rounds N] [--seconds S] [--beside TREE]

Both edges are cores in one process, which has the gateways' processor to itself; the load has the other one. There are
as many lanes and flows as workers. System calls, turns and frames of both edges are counted by the core: they depend on
how many messages are ready at a time, and little on how busy the machine is. Switches are those of the process from one
thread to another, as the system counts them. --beside measures the core of another source tree, built, in the same
rounds; `ratio` is then the median over the rounds of this tree's rate by that of the other.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

from benches.generator import Load
from benches.processes import free_port
from benches.settings import GATEWAY_CPU, HOST, ROOT

WORKERS = (1, 2, 4)
CASES = {
    "request 64 x 64 B": {"request": 64},
    "request 8 x 64 B": {"request": 8},
    "request 1 x 64 B": {"request": 1},
    "open 32": {"churn": 32},
    "bulk 8": {"bulk": 8},
}
COUNTED = {"calls": "system_calls_total", "turns": "turns_total", "frames": "frames_sent_total"}
FIGURES = [*COUNTED, "switches", "cpu us", "rate", "p50 us", "p99 us"]


def measured(case: str, workers: int, seconds: float) -> dict[str, float]:
    """The figures of one run in this process, for each request, stream or MB."""
    from tests.support.applications import Across  # noqa: PLC0415

    os.sched_setaffinity(0, {GATEWAY_CPU})
    port = free_port()
    with Across(relays=0, lanes=workers, workers=workers, memory=256 << 20) as across:
        host, door = across.serve((HOST, port))
        command = Load(host, door, bind_port=port).command(warm=0, seconds=seconds, pid=os.getpid(), **CASES[case])
        before = _counts(across)
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        after = _counts(across)
    found = json.loads(done.stdout)
    number = found["bytes"] / 1e6 or found["requests"] or found["opens"]
    each = {name: (after[name] - before[name]) / number for name in after}
    kind = "open_" if "churn" in CASES[case] else ""
    return {
        **each,
        "cpu us": 1e6 * sum(found["cpu_s"].values()) / number,
        "rate": number / found["seconds"],
        "p50 us": found[f"{kind}p50_us"],
        "p99 us": found[f"{kind}p99_us"],
    }


def _counts(across: object) -> dict[str, int]:
    counters = [node.core.counters() for node in across.nodes]  # type: ignore[attr-defined]
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        **{name: sum(each[counter] for each in counters) for name, counter in COUNTED.items()},
        "switches": used.ru_nvcsw + used.ru_nivcsw,
    }


def _apart(tree: Path, case: str, workers: int, seconds: float) -> dict[str, float]:
    """The same in a process of its own, with the core of that tree."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    program = f"import json, benches.bench_workers as b; print(json.dumps(b.measured({case!r}, {workers}, {seconds})))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benches.bench_workers", description="What more workers cost.")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="of each measurement")
    parser.add_argument("--beside", type=Path, metavar="TREE", help="another source tree, built")
    parser.add_argument("--case", choices=CASES, action="append", help="only this one; may be given several times")
    parser.add_argument("--workers", type=int, action="append", metavar="N", help="only so many")
    given = parser.parse_args(arguments)
    trees = {"this": ROOT, **({"other": given.beside} if given.beside else {})}
    rows: dict[tuple[str, int, str], list[dict[str, float]]] = defaultdict(list)
    for number in range(given.rounds):
        for case in given.case or CASES:
            for workers in given.workers or WORKERS:
                for name in sorted(trees, reverse=bool(number % 2)):
                    rows[case, workers, name].append(_apart(trees[name], case, workers, given.seconds))
    print(f"{'':18} {'workers':7} {'':5}", *(f"{name:>9}" for name in FIGURES))
    for (case, workers, name), found in sorted(rows.items()):
        values = (median(row[figure] for row in found) for figure in FIGURES)
        beside = rows.get((case, workers, "other")) if name == "this" else None
        print(f"{case:18} {workers:7} {name:5}", *(f"{value:9,.4g}" for value in values), _ratios(found, beside))


def _ratios(this: list[dict[str, float]], other: list[dict[str, float]] | None) -> str:
    """The rates of rounds by those of the other tree in the same rounds: the median, and the quarters around it."""
    if other is None:
        return ""
    found = sorted(mine["rate"] / theirs["rate"] for mine, theirs in zip(this, other, strict=True))
    quarter = len(found) // 4
    return f"ratio {median(found):.3f} ({found[quarter]:.3f} to {found[-1 - quarter]:.3f})"


if __name__ == "__main__":
    main()
