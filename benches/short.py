"""Rung 4 in less than a minute, for continuous integration: python -m benches.short

One line for each target of what is measured here: the case, pcgrelay, the best peer, and the ratio. It fails only where
pcgrelay is behind that peer in every round, and by more than the noise in the medians over them. What is behind in
every round by less says so and does not fail. It fails too where nothing could be compared.

What is ahead by more than the noise is measured once, all else twice, and again while it is behind in every round.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benches import own_network
from benches.bench_node import CHAIN, PAIR, TOPOLOGIES, rows_of, started
from benches.cases import CASES, Case
from benches.chain import Chain
from benches.plot import spelt
from benches.processes import free_port
from benches.settings import CHOICES, allow_many_descriptors
from benches.targets import OURS, TARGETS, Verdict, behind_in_every_round, verdicts

SETTINGS = replace(CHOICES["short"], warm_s=0.1, window_s=0.3)
# Those that are the best of all in one of these cases; each takes some seconds more.
PEERS = {
    PAIR: {OURS, "nginx", "ssh -L", "envoy", "envoy-mux"},
    CHAIN: {OURS, "haproxy-pass", "nginx-pass", "envoy-mux"},
}
MEASURED = {
    PAIR: ["bulk 1", "bulk 8", "request 1 x 64 B", "request 64 x 64 B", "request 64 x 16 KiB", "open 32"],
    CHAIN: ["bulk 8", "request 64 x 64 B", "open 32"],
}
ROUNDS = 5
# Of a machine that is shared, and of windows as short as these: differences below 15 % mean nothing.
NOISE = 0.15
Rows = list[dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benches.short", description="Nodes beside their best peers, in a minute.")
    parser.add_argument(
        "--noise", type=float, default=NOISE, metavar="SHARE", help="by how much pcgrelay may be behind (%(default)s)"
    )
    noise = parser.parse_args(arguments).noise
    allow_many_descriptors()
    rows: Rows = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        for topology, (hops, known) in TOPOLOGIES.items():
            peers = [peer for peer in known if peer.name in PEERS[topology]]
            folder, port = Path(name) / topology, free_port()
            folder.mkdir()
            with started(peers, hops, port, folder, failures) as chains:
                for number in range(ROUNDS):
                    rows += _round(number, topology, chains, rows, failures)
    for line in failures:
        print(f"bench: {line}", file=sys.stderr)
    return judged(rows, noise)


def _round(number: int, topology: str, chains: Sequence[Chain], rows: Rows, failures: list[str]) -> Rows:
    order = random.Random(number)
    found: Rows = []
    for case in CASES:
        if case.name not in MEASURED[topology] or (number and not _in_doubt(number, rows, topology, case)):
            continue
        shuffled = order.sample(list(chains), len(chains))
        found += [{**row, "round": number} for row in rows_of(case, topology, shuffled, SETTINGS, failures)]
    return found


def _in_doubt(number: int, rows: Rows, topology: str, case: Case) -> bool:
    """Whether a second (1) or later round could still change what is said of a case."""
    mine = [row for row in rows if (row["topology"], row["case"]) == (topology, case.name)]
    found = [each for each in verdicts(mine) if _relative(each)]
    if number == 1:
        return any(_share(each) < 1 + NOISE for each in found) or not found
    return any(behind_in_every_round(mine, each) for each in found)


def _relative(verdict: Verdict) -> bool:
    return not verdict.target.absolute


def judged(rows: Rows, noise: float = NOISE) -> int:
    """Print the lines; answer 1 if pcgrelay is behind, or if something could not be compared."""
    found = {(each.target.topology, each.target.title): each for each in verdicts(rows) if _relative(each)}
    behind, missing = [], []
    for target in TARGETS:
        if target.absolute or target.case not in MEASURED[target.topology]:
            continue
        title = f"{target.topology}, {target.title}"
        verdict = found.get((target.topology, target.title))
        if verdict is None:
            missing.append(title)
            continue
        word = ""
        if behind_in_every_round(rows, verdict):
            word = "behind" if _share(verdict) < 1 - noise else "behind, within the noise"
        ours, best = spelt(verdict.ours), f"{verdict.peer} {spelt(verdict.best)}"
        print(f"{title:48} pcgrelay {ours:>9}   {best:24} {verdict.ratio:5.2f}  {word}".rstrip())
        if word == "behind":
            behind.append(title)
    if missing:
        print(f"could not be compared: {'; '.join(missing)}", file=sys.stderr)
    if behind:
        print(f"behind a peer by more than the noise: {'; '.join(behind)}", file=sys.stderr)
    return 1 if behind or missing else 0


def _share(verdict: Verdict) -> float:
    """What pcgrelay reaches of that peer, where more is better."""
    return verdict.ratio if verdict.target.more else 1 / verdict.ratio


if __name__ == "__main__":
    own_network.enter()
    raise SystemExit(main())
