"""Two edges with an audit log beside the same two without, while 1,000 streams a second come and go at both.

Rounds are interleaved: in each the same load goes through both pairs in a new order. Each stream is a record at either
edge, written, synced and signed on the one processor that the gateways have. The report takes medians over the rounds.

Exit code 1: with the log they reach less than 0.95 of the rate without, streams come and go slower than they are to, a
record was lost, or a case was not measured.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from benches import own_network, results
from benches.bench_node import PAIR, line_of, rows_of, started
from benches.cases import Case, load
from benches.peers.pcgrelay.peer import PcgrelayAudited, PcgrelayKept
from benches.processes import free_port, until
from benches.settings import Settings, allow_many_descriptors, chosen
from benches.targets import cpu_each, medians, rate
from pcgrelay.admin.client import read_status

AUDIT = "audit"
PEERS = [PcgrelayKept, PcgrelayAudited]
EACH_SECOND = 1_000
# So many may be open at once: with fewer, gateways that are busy would slow down who comes.
OPEN_MOST = 512
CASES = [
    Case("bulk 8", "bulk", load(bulk=8, churn=OPEN_MOST, pace=EACH_SECOND)),
    Case("request 64 x 64 B", "request", load(request=64, churn=OPEN_MOST, pace=EACH_SECOND)),
]
LEAST = 0.95
ROUNDS = 21
# The log is synced once a second: a window has two.
WINDOW_S = 2.0
WRITTEN_S = 10.0


def run(settings: Settings) -> int:
    allow_many_descriptors()
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    is_whole = settings.name != "tiny"
    if is_whole:
        settings = replace(settings, window_s=WINDOW_S)
    with (
        tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name,
        started(PEERS, 2, free_port(), Path(name), failures) as chains,
    ):
        for number in range(ROUNDS if is_whole else settings.rounds):
            order = random.Random(number)
            for case in CASES:
                for row in rows_of(case, PAIR, order.sample(chains, len(chains)), settings, failures):
                    print(line_of(row), flush=True)
                    rows.append({**row, "round": number})
            results.write(AUDIT, settings, rows, failures)
        records = [_records(chain) for chain in chains if isinstance(chain, PcgrelayAudited)]
    for line in failures:
        print(f"bench: {line}", file=sys.stderr)
    return judged(rows, records, failures)


def _records(chain: PcgrelayAudited) -> tuple[int, int, int]:
    """Records of both edges, how many of them are signed, and how many were lost; once all are written."""
    for hop in range(chain.place.hops):
        until(lambda hop=hop: not read_status(chain.admin(hop)).audit.queue, WRITTEN_S, "the queue is empty")
    found = [read_status(chain.admin(hop)).audit for hop in range(chain.place.hops)]
    return tuple(sum(each) for each in zip(*((a.records, a.signed, a.lost_total) for a in found), strict=True))


def judged(rows: Sequence[dict[str, Any]], records: Sequence[tuple[int, int, int]], failures: Sequence[str]) -> int:
    """Print what was found; 1 if it is not as it must be."""
    is_met = not failures and bool(records)
    for case in CASES:
        rates = medians(rows, PAIR, case.name, rate)
        streams = medians(rows, PAIR, case.name, _streams)
        costs = medians(rows, PAIR, case.name, cpu_each)
        if set(rates) != {peer.name for peer in PEERS}:
            print(f"{case.name}: not measured")
            is_met = False
            continue
        without, audited = (rates[peer.name] for peer in PEERS)
        cost = costs[PcgrelayAudited.name] / costs[PcgrelayKept.name]
        ratio = audited / without
        is_met = is_met and ratio >= LEAST and min(streams.values()) >= LEAST * EACH_SECOND
        print(f"{case.name:20} {ratio:.3f} of the rate without (>= {LEAST}), {cost:.3f} of the processor time each")
        print(f"{'':20} beside {' and '.join(f'{each:,.0f}' for each in streams.values())} streams a second")
    print(f"spread of the rounds: {spread(rows):.0%}")
    for count, signed, lost in records:
        print(f"{count:,} records at both edges, {signed:,} of them signed, {lost:,} lost")
        is_met = is_met and not lost
    return int(not is_met)


def _streams(row: dict[str, Any]) -> float:
    return float(row["opens"]) / float(row["seconds"])


def spread(rows: Sequence[dict[str, Any]]) -> float:
    """How far the rounds lie apart: the median over cases and peers of (most - least) / median."""
    found = []
    for case in CASES:
        for peer in PEERS:
            rates = [rate(row) or 0.0 for row in rows if (row["case"], row["peer"]) == (case.name, peer.name)]
            if rates:
                found.append((max(rates) - min(rates)) / median(rates))
    return median(found) if found else 0.0


if __name__ == "__main__":
    own_network.enter()
    raise SystemExit(run(chosen()))
