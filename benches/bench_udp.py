"""Datagrams through nodes beside their peers, and streams of TCP beside a flood of forged sources: make bench-udp.

Every chain has one processor and the load the other; rounds are interleaved as on rung 4. Of nginx and socat nothing is
encrypted; wireguard-go encrypts packets and knows no services.

The flood: streams through two edges while datagrams come from 100,000 sources that nobody has, to the import and, for
comparison, to a socket beside it that nobody reads: so what the flood itself takes is in both.

BENCH=full writes the section of docs/performance.md. Exit code 1: pcgrelay did not carry something, a bound did not
hold, or streams kept less than 0.9 of their rate beside the slower flood. BENCH=short takes some seconds, and judges no
times.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches import own_network, results, udp_report
from benches.bench_node import CHAIN, PAIR, rows_of, started
from benches.chain import START_S, Chain, Place
from benches.datagrams import ALONE, CASES, Datagrams, NoGateway
from benches.generator import DatagramLoad, measure, prove
from benches.peers.nginx.peer import NginxDatagrams
from benches.peers.pcgrelay.peer import FAR, PcgrelayDatagrams, PcgrelayDirectDatagrams, PcgrelayFlooded
from benches.peers.socat.peer import Socat
from benches.peers.wireguard.peer import WireGuard
from benches.processes import BenchError, free_port, memory_bytes, until
from benches.settings import HOST, Settings, allow_many_descriptors, chosen
from pcgrelay.admin.client import read_status

UDP = "udp"
PEERS: list[type[Datagrams]] = [PcgrelayDatagrams, WireGuard, NginxDatagrams, Socat]
TOPOLOGIES: dict[str, tuple[int, list[type[Datagrams]]]] = {
    PAIR: (2, [*PEERS, NoGateway]),
    CHAIN: (3, PEERS),
    ALONE: (1, [PcgrelayDirectDatagrams, NginxDatagrams, Socat]),
}
SHORT_TOPOLOGIES: dict[str, tuple[int, list[type[Datagrams]]]] = {PAIR: (2, [PcgrelayDatagrams, NginxDatagrams])}
SHORT_CASES = {"200 B, 1 association", "200 B, 64 associations"}
SOURCES = 100_000
# Datagrams a second; the streams that go on beside it.
FLOODS = (10_000, 100_000)
STREAMS = {"bulk 8": ("bulk", {"bulk": 8}), "request 64 x 64 B": ("request", {"request": 64})}
FLOOD_S, FLOOD_ROUNDS = 3.0, 5
NOBODY, IMPORT = "nobody", "import"
Rows = list[dict[str, Any]]


def run(settings: Settings) -> Rows:
    allow_many_descriptors()
    rows: Rows = []
    failures: list[str] = []
    is_full = settings.name == "full"
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        folder = Path(name)
        for number in range(settings.rounds):
            for topology, (hops, peers) in (TOPOLOGIES if is_full else SHORT_TOPOLOGIES).items():
                place = folder / f"{number}-{topology}"
                place.mkdir()
                with started(peers, hops, free_port(), place, failures) as chains:
                    rows += _round(number, topology, chains, settings, failures)
                results.write(UDP, settings, rows, failures)
        try:
            rows += _floods(folder / "flood", settings)
        except BenchError as error:
            failures.append(f"flood: {error}")
    results.write(UDP, settings, rows, failures)
    for line in failures:
        print(f"bench: {line}", file=sys.stderr)
    return rows


def _round(
    number: int, topology: str, chains: Sequence[Chain], settings: Settings, failures: list[str]
) -> Iterator[dict[str, Any]]:
    order = random.Random(number)
    for case in CASES:
        if settings.name != "full" and case.name not in SHORT_CASES:
            continue
        for row in rows_of(case, topology, order.sample(list(chains), len(chains)), settings, failures):
            print(udp_report.line_of(row), flush=True)
            yield {**row, "round": number}


# -- a flood of forged sources ----------------------------------------------------------------------------------------


def _floods(folder: Path, settings: Settings) -> Iterator[dict[str, Any]]:
    """Streams beside a flood to the import, and beside the same to a socket that nobody reads."""
    is_full = settings.name == "full"
    target = free_port()
    with PcgrelayFlooded(Place(folder, 2, target)) as chain, _unread(0) as beside, _unread(target):
        until(lambda: prove(chain.place.load()), START_S, "a stream goes through")
        doors = {NOBODY: beside, IMPORT: chain.place.ports[0]}
        began = memory_bytes(list(chain.pids()))
        for number in range(min(FLOOD_ROUNDS, settings.rounds) if is_full else 1):
            for pace in FLOODS if is_full else FLOODS[:1]:
                for case in STREAMS if is_full else list(STREAMS)[:1]:
                    for door in random.Random(number).sample(list(doors), len(doors)):
                        row = _flooded(chain, case, pace, doors[door], settings)
                        row |= {"round": number, "door": door, "grown_bytes": row["memory_bytes"] - began}
                        print(udp_report.line_of(row), flush=True)
                        yield row


def _flooded(chain: PcgrelayFlooded, case: str, pace: int, port: int, settings: Settings) -> dict[str, Any]:
    kind, streams = STREAMS[case]
    seconds = FLOOD_S if settings.name == "full" else 1.0
    with _flood(port, pace) as told:
        figures = measure(chain.place.load(), chain.pids(), warm=0.5, seconds=seconds, **streams)
        services = read_status(chain.admin(0)).services
        associations = next(each.streams_active for each in services if each.name == f"datagrams@{FAR}")
        held = memory_bytes(list(chain.pids()))
    row = {"topology": PAIR, "what": "flood", "case": case, "kind": kind, "peer": chain.name, "pace": pace}
    return {**row, **figures, "flood": told, "associations": associations, "memory_bytes": held}


@contextmanager
def _flood(port: int, pace: int) -> Iterator[dict[str, Any]]:
    """A flood for as long as the block lasts; afterwards the answer says what was sent, and in what time."""
    told: dict[str, Any] = {}
    command = DatagramLoad(HOST, port).command(flood=pace, sources=SOURCES, seconds=600)
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        yield told
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=10)
    if process.returncode:
        raise BenchError("the flood ended by itself; forged sources need root")
    told.update(json.loads(said))


@contextmanager
def _unread(port: int) -> Iterator[int]:
    """A socket that takes datagrams until it is full, and answers nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((HOST, port))
        yield sock.getsockname()[1]


def main() -> int:
    settings = chosen()
    own_network.enter()
    rows = run(settings)
    if settings.name == "full":
        content = results.read(UDP)
        assert content is not None
        udp_report.write(content)
    return udp_report.judged(rows, timed=settings.name == "full")


if __name__ == "__main__":
    raise SystemExit(main())
