"""One edge as a counted plain TCP proxy, with a direct outlet alone, beside haproxy as one (`mode tcp`).

The gateway has one processor and the load the other. Rounds are interleaved: in each round every case goes through both
in a new order. The report takes medians over the rounds, and ratios within the run. Memory is that of 5,000 idle pairs
on fresh processes; what the kernel holds for the sockets is not counted.

Exit code 1: pcgrelay was behind what docs/performance.md asks for, or something could not be compared.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benches import own_network, results
from benches.bench_idle import OPENING_S, memory_of
from benches.bench_node import line_of, rows_of, started
from benches.cases import Case, load
from benches.chain import Chain, Place
from benches.generator import held
from benches.peers.haproxy.peer import Haproxy
from benches.peers.pcgrelay.peer import PcgrelayDirect
from benches.processes import free_port
from benches.settings import Settings, allow_many_descriptors, chosen
from benches.targets import OURS, cpu_each, medians, rate

DIRECT = "direct"
PEERS: list[type[Chain]] = [PcgrelayDirect, Haproxy]
CASES = [
    Case("bulk 1", "bulk", load(bulk=1)),
    Case("request 64 x 64 B", "request", load(request=64)),
    Case("open 32", "open", load(churn=32)),
]
IDLE = 5_000
# Rounds of connections lie a third apart here, and a median of seven is no answer.
ROUNDS = 21


@dataclass(frozen=True)
class Limit:
    """What is asked for: of haproxy's figure, or in bytes."""

    case: str
    unit: str
    scale: float
    least: float


LIMITS = [
    Limit("bulk 1", "MB/s", 1e-6, 0.9),
    Limit("request 64 x 64 B", "requests/s", 1, 1.0),
    Limit("open 32", "connections/s", 1, 1.0),
]
IDLE_MOST = 1_024


def run(settings: Settings) -> int:
    allow_many_descriptors()
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        port, folder = free_port(), Path(name)
        with started(PEERS, 1, port, folder, failures) as chains:
            for number in range(settings.rounds if settings.name == "tiny" else ROUNDS):
                rows += _round(number, chains, settings, failures)
                results.write(DIRECT, settings, rows, failures)
        count = min(IDLE, *settings.idle) if settings.name == "tiny" else IDLE
        rows += [_idle(peer, folder / f"idle-{peer.name}", count) for peer in PEERS]
        results.write(DIRECT, settings, rows, failures)
    for line in failures:
        print(f"bench: {line}", file=sys.stderr)
    return judged(rows)


def _round(number: int, chains: Sequence[Chain], settings: Settings, failures: list[str]) -> list[dict[str, Any]]:
    order = random.Random(number)
    found = []
    for case in CASES:
        for row in rows_of(case, DIRECT, order.sample(list(chains), len(chains)), settings, failures):
            print(line_of(row), flush=True)
            found.append({**row, "round": number})
    return found


def _idle(peer: type[Chain], folder: Path, count: int) -> dict[str, Any]:
    with peer(Place(folder, 1, free_port(), connections=count + 1_000)) as chain:
        before = memory_of(chain)
        with held(chain.place.load(), count, OPENING_S):
            after = memory_of(chain)
    each = sum(after[role] - before[role] for role in after) / count
    print(f"{DIRECT:16} {'idle':20} {peer.name:13} {each:.0f} bytes each of {count:,}", flush=True)
    return {"topology": DIRECT, "case": "idle", "kind": "idle", "peer": peer.name, "idle": count, "bytes_each": each}


def cells(rows: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The rows of the table: case, pcgrelay, haproxy, ratio, what is asked for, and whether it is met."""
    found = []
    for limit in LIMITS:
        figures = medians(rows, DIRECT, limit.case, rate)
        if {OURS, Haproxy.name} <= figures.keys():
            ours, other = (figures[name] * limit.scale for name in (OURS, Haproxy.name))
            ratio = ours / other
            words = [f"{limit.case}, {limit.unit}", f"{ours:,.0f}", f"{other:,.0f}", f"{ratio:.2f}"]
            found.append([*words, f"≥ {limit.least:g}", _met(ratio >= limit.least)])
    idle = {row["peer"]: row["bytes_each"] for row in rows if row["case"] == "idle"}
    if {OURS, Haproxy.name} <= idle.keys():
        ours, other = idle[OURS], idle[Haproxy.name]
        words = ["idle pair, bytes beside the sockets", f"{ours:,.0f}", f"{other:,.0f}", f"{ours / other:.2f}"]
        found.append([*words, f"≤ {IDLE_MOST:,} bytes", _met(ours <= IDLE_MOST)])
    return found


def processor(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the processor gave for each unit: it moves less than the rates if others use the machine."""
    found = []
    for limit in LIMITS:
        figures = medians(rows, DIRECT, limit.case, cpu_each)
        if {OURS, Haproxy.name} <= figures.keys():
            is_bulk = limit.unit == "MB/s"
            ours, other = (figures[name] * (1 if is_bulk else 1e6) for name in (OURS, Haproxy.name))
            unit = "CPU s/GB" if is_bulk else "CPU us each"
            words = f"{limit.case}, {unit}"
            found.append(f"{words:40} pcgrelay {ours:9.3g}   haproxy {other:9.3g}   {ours / other:5.2f}")
    return found


def spread(rows: Sequence[dict[str, Any]]) -> str:
    """How far the rounds lie apart: the median over cases and peers of (most - least) / median."""
    found = []
    for limit in LIMITS:
        for peer in (OURS, Haproxy.name):
            rates = [rate(row) or 0.0 for row in rows if (row["case"], row["peer"]) == (limit.case, peer)]
            if rates:
                found.append((max(rates) - min(rates)) / median(rates))
    return f"{median(found):.0%}" if found else "-"


def judged(rows: Sequence[dict[str, Any]]) -> int:
    """Print the table; 1 if anything is behind or missing."""
    found = cells(rows)
    for row in found:
        print(f"{row[0]:40} pcgrelay {row[1]:>9}   haproxy {row[2]:>9}   {row[3]:>5}  {row[4]:14} {row[5]}")
    print(*processor(rows), f"spread of the rounds: {spread(rows)}", sep="\n")
    return 0 if len(found) == len(LIMITS) + 1 and all(row[-1] == "yes" for row in found) else 1


def _met(is_met: bool) -> str:
    return "yes" if is_met else "**no**"


if __name__ == "__main__":
    own_network.enter()
    raise SystemExit(run(chosen()))
