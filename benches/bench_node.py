"""Rung 4: nodes on loopback beside their peers, in the same run.

All processes of a chain share one processor, the load has the other. In a round every peer's chain is up; each case
goes through all of them in a new order, so that what disturbs the machine disturbs them alike. The report takes medians
over the rounds.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches import results
from benches.cases import CASES, Case, Figures, serving
from benches.chain import Chain, Place
from benches.peers.envoy.peer import Envoy, EnvoyMux
from benches.peers.haproxy.peer import Haproxy, HaproxyPass
from benches.peers.nginx.peer import Nginx, NginxPass
from benches.peers.pcgrelay.peer import Pcgrelay
from benches.peers.spiped.peer import Spiped
from benches.peers.ssh.peer import Ssh
from benches.peers.stunnel.peer import Stunnel
from benches.processes import BenchError, free_port
from benches.settings import Settings, allow_many_descriptors, chosen

PAIR, CHAIN = "edge-edge", "edge-relay-edge"
TOPOLOGIES: dict[str, tuple[int, list[type[Chain]]]] = {
    PAIR: (2, [Pcgrelay, Haproxy, Nginx, Stunnel, Spiped, Ssh, Envoy, EnvoyMux]),
    CHAIN: (3, [Pcgrelay, Haproxy, HaproxyPass, Nginx, NginxPass, Envoy, EnvoyMux]),
}


def run(settings: Settings, wanted: str = "") -> None:
    allow_many_descriptors()
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        folder = Path(name)
        for number in range(settings.rounds):
            for topology in TOPOLOGIES:
                rows += _round(number, topology, settings, folder / f"{number}-{topology}", wanted, failures)
                results.write("node", settings, rows, failures)


def peers_of(topology: str, settings: Settings) -> list[type[Chain]]:
    return [peer for peer in TOPOLOGIES[topology][1] if peer.name not in settings.peers_left_out]


def _round(
    number: int, topology: str, settings: Settings, folder: Path, wanted: str, failures: list[str]
) -> Iterator[dict[str, Any]]:
    order = random.Random(number)
    folder.mkdir()
    port = free_port()
    with started(peers_of(topology, settings), TOPOLOGIES[topology][0], port, folder, failures) as chains:
        for case in CASES:
            if case.name in settings.cases_left_out or (topology != PAIR and not case.relayed):
                continue
            if wanted not in case.name:
                continue
            with serving(case, port, folder):
                for row in rows_of(case, topology, order.sample(chains, len(chains)), settings, failures):
                    print(line_of(row), flush=True)
                    yield {**row, "round": number}


def rows_of(
    case: Case, topology: str, chains: Sequence[Chain], settings: Settings, failures: list[str]
) -> Iterator[dict[str, Any]]:
    """One case at each of these chains, in this order."""
    for chain in chains:
        figures = _measured(case, chain, settings, failures)
        if figures is not None:
            yield {"topology": topology, "case": case.name, "kind": case.kind, "peer": chain.name, **figures}


def _measured(case: Case, chain: Chain, settings: Settings, failures: list[str]) -> Figures | None:
    """One measurement; a second try if the first breaks, for a busy machine may make a peer give up."""
    for _ in range(2):
        try:
            return case.run(chain, settings)
        except BenchError as error:
            failures.append(f"{chain.place.hops} hops, {case.name}, {chain.name}: {error}")
    return None


@contextmanager
def started(
    peers: Sequence[type[Chain]], hops: int, port: int, folder: Path, failures: list[str]
) -> Iterator[list[Chain]]:
    """Chains of all these peers, started; all lead to the same port, where only one server listens at a time."""
    chains: list[Chain] = []
    try:
        for peer in peers:
            try:
                chains.append(peer(Place(folder / peer.name.replace(" ", ""), hops, port)).start())
            except (BenchError, OSError) as error:
                failures.append(f"{peer.name} does not start: {error}")
        yield chains
    finally:
        for chain in chains:
            chain.end()


def line_of(row: dict[str, Any]) -> str:
    """A row for people."""
    words = []
    if row.get("bytes"):
        words.append(f"{row['bytes'] / row['seconds'] / 1e6:.0f} MB/s")
    if row.get("requests"):
        words.append(f"{row['requests'] / row['seconds']:.0f} requests/s")
    if row.get("p99_us"):
        words.append(f"p50 {row['p50_us']:.0f}, p99 {row['p99_us']:.0f} us")
    if row.get("opens"):
        words.append(f"{row['opens'] / row['seconds']:.0f} opens/s")
    return f"{row['topology']:16} {row['case']:20} {row['peer']:13} {', '.join(words)}"


if __name__ == "__main__":
    run(chosen(), sys.argv[1] if len(sys.argv) > 1 else "")
