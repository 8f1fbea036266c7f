"""Rung 6: over a distance. Two network namespaces, and between them a delay in user space; loss comes from nft.

One stream and 16 streams, against a TCP connection with no gateway at all and against the peers.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benches import results
from benches.chain import Chain, Place
from benches.generator import measure, program
from benches.peers.envoy.peer import Envoy
from benches.peers.haproxy.peer import Haproxy
from benches.peers.pcgrelay.peer import Pcgrelay
from benches.peers.ssh.peer import Ssh
from benches.processes import BenchError, Process, free_port, until
from benches.settings import LOAD_CPU, Settings, chosen

DEVICE = "distance"
NEAR, FAR = "10.87.0.1", "10.87.0.2"
# A round trip in milliseconds, and how many packets in 1,000 are lost.
PATHS = [(20, 0), (40, 0), (100, 0), (40, 1)]
STREAMS = [1, 16]
# As configuration.md advises where a round trip takes long. The peers open a connection for each stream.
LANES = 8
# Time until windows and congestion control have found their size, and to measure.
TIMES = {"full": (2.0, 2.0), "short": (1.5, 1.5), "tiny": (0.3, 0.3)}
# Each takes some minutes, for each path and peer has to be set up.
ROUNDS_MOST = 3


class Direct(Chain):
    """No gateway: the client connects to the far server itself."""

    name = "plain TCP"

    def start_hops(self) -> None:
        """Nothing is to be started."""

    def listening_ports(self) -> list[tuple[str, int]]:
        return []


CHAINS: list[type[Chain]] = [Direct, Pcgrelay, Haproxy, Envoy, Ssh]


def run(settings: Settings) -> None:
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    paths = PATHS if settings.name != "short" else [(40, 0)]
    try:
        for round_trip_ms, loss in paths * min(ROUNDS_MOST, settings.rounds):
            with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name, _distance(round_trip_ms, loss) as nets:
                for peer in CHAINS:
                    if peer.name in settings.peers_left_out:
                        continue
                    place = _place(peer, Path(name) / peer.name.replace(" ", ""), nets)
                    rows += _measured(peer, place, round_trip_ms, loss, settings, failures)
                    results.write("distance", settings, rows, failures)
    except BenchError as error:
        failures.append(str(error))
    results.write("distance", settings, rows, failures)


def _place(peer: type[Chain], folder: Path, nets: tuple[str, str]) -> Place:
    target, ports = free_port(), (free_port(), free_port(), free_port())
    if peer is Direct:
        return Place(folder, 2, target, (FAR, FAR), nets, ports=(target, ports[1], ports[2]))
    return Place(folder, 2, target, (NEAR, FAR), nets, ports=ports, lanes=LANES)


def _measured(
    peer: type[Chain], place: Place, round_trip_ms: int, loss: int, settings: Settings, failures: list[str]
) -> Iterator[dict[str, Any]]:
    warm, seconds = TIMES[settings.name]
    try:
        with peer(place) as chain:
            for streams in STREAMS:
                figures = measure(place.load(), chain.pids(), bulk=streams, warm=warm, seconds=seconds)
                row = {"round_trip_ms": round_trip_ms, "loss": loss / 1000, "streams": streams, "peer": peer.name}
                rate = figures["bytes"] / figures["seconds"] / 1e6
                path = f"{round_trip_ms:4} ms {loss / 10:.1f} %"
                print(f"{path} {streams:3} streams {peer.name:10} {rate:7.1f} MB/s", flush=True)
                yield {**row, **figures}
    except BenchError as error:
        failures.append(f"{peer.name} over {round_trip_ms} ms, loss {loss / 10} %: {error}")


@contextmanager
def _distance(round_trip_ms: int, loss: int) -> Iterator[tuple[str, str]]:
    """Two namespaces so far apart, for as long as the block lasts; answer their names."""
    nets = (f"pcgrelay-near-{os.getpid()}", f"pcgrelay-far-{os.getpid()}")
    made: list[str] = []
    process: Process | None = None
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as folder:
        log = Path(folder) / "distance.log"
        try:
            for net in nets:
                _ip("netns", "add", net)
                made.append(net)
            command = [str(program("distance")), *(f"/run/netns/{net}" for net in nets), DEVICE, str(round_trip_ms / 2)]
            process = Process("distance", command, log, cpu=LOAD_CPU)
            until(lambda: "ready" in log.read_text(), 5, f"the distance stands; it said {log.read_text()!r}")
            for net, address in zip(nets, (NEAR, FAR), strict=True):
                _ip("-n", net, "link", "set", "lo", "up")
                # A long queue: packets are to be late here, not lost.
                _ip("-n", net, "link", "set", DEVICE, "mtu", "1500", "txqueuelen", "20000", "up")
                _ip("-n", net, "addr", "add", f"{address}/24", "dev", DEVICE)
                if loss:
                    _lose(net, loss)
            yield nets[0], nets[1]
        finally:
            if process:
                process.end()
            for net in made:
                _ip("netns", "delete", net)


def _lose(net: str, loss: int) -> None:
    """Lose so many of 1,000 packets that arrive, at random."""
    rule = f'iifname "{DEVICE}" numgen random mod 1000 < {loss} drop'
    table = f"table inet loss {{\n chain arriving {{\n  type filter hook input priority 0;\n  {rule}\n }}\n}}\n"
    command = ["ip", "netns", "exec", net, "nft", "-f", "-"]
    done = subprocess.run(command, input=table, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"nft: {done.stderr.strip()}")


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"ip {' '.join(words)}: {done.stderr.strip()}")


if __name__ == "__main__":
    run(chosen())
