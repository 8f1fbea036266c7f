"""What connect() costs an edge with many connections to one target off loopback: by ports in turn, by the system's.

One edge as a plain proxy; its target is in another network namespace, so that TIME-WAIT lasts a minute, as between
machines. New connections come at a steady pace. Each connect() of the edge is timed by a library that is preloaded: by
the wall, and by the thread's processor time, which other programs of the machine do not disturb. Beside it the same
node, of which the settings are hidden, so that the system chooses.

Exit code 1: with ports in turn a connection failed, fewer came about than were to, or of a hundred connect() one took
over 100 us of processor time and over ten times the usual. A search for a port costs a hundred times the usual; the
usual itself is 10 us on one machine and 60 on another, for over loopback it is also the work of the far end. On a
machine that is shared, the work of others and of the host is in these figures too.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches import own_network, results
from benches.chain import Place
from benches.generator import Load, program
from benches.peers.pcgrelay.peer import PROGRAM, PcgrelayDirect
from benches.processes import BenchError, Process, free_port
from benches.settings import HOST, Settings, allow_many_descriptors, chosen
from pcgrelay.admin.client import read_status

PORTS = "ports"
NEAR, FAR, DEVICE = "10.88.0.1", "10.88.0.2", "ports"
MOST_US, MOST_TIMES = 100.0, 10
# So many begin at once, and are open at a time.
OPEN_MOST = 64


@dataclass(frozen=True)
class Run:
    """So many connections each second, for so long, from these ports."""

    each_second: int
    seconds: float
    ports: tuple[int, int]


# The first fills half of the usual range in 14 s. The others have less, and fill it sooner.
RUNS = {
    "full": Run(1_000, 60.0, (32_768, 60_999)),
    "short": Run(1_000, 6.0, (32_768, 38_767)),
    "tiny": Run(300, 1.0, (32_768, 33_767)),
}


@dataclass(frozen=True)
class FarPlace(Place):
    """The target is in the other namespace, which has this name."""

    far: str = ""

    @property
    def target(self) -> str:
        return f"{FAR}:{self.target_port}"

    def load(self) -> Load:
        return Load(HOST, self.ports[0], FAR, self.target_port, server_net=self.far)


class InTurn(PcgrelayDirect):
    name = "ports in turn"
    hides = ""

    def run(self, hop: int) -> Process:
        command = ["env", f"LD_PRELOAD={program('timed_connect.so')}", f"TIMED_CONNECT={self.timed}"]
        return self.spawn(hop, ["unshare", "-m", "sh", "-c", f'{self.hides}exec "$@"', "-", *command, *self._node(hop)])

    def _node(self, hop: int) -> list[str | Path]:
        return [PROGRAM, "run", "-c", self.config(hop)]

    @property
    def timed(self) -> Path:
        return self.place.folder / "connects"


class BySystem(InTurn):
    name = "system's choice"
    hides = "mount --bind /dev/null /proc/sys/net/ipv4/tcp_timestamps; "


def run(settings: Settings) -> int:
    allow_many_descriptors()
    what = RUNS[settings.name]
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        for chain in (InTurn, BySystem):
            try:
                with _two_networks(what.ports) as far:
                    rows.append(_measured(chain, Path(name) / chain.__name__, far, what))
                    print(line_of(rows[-1]), flush=True)
            except BenchError as error:
                failures.append(f"{chain.name}: {error}")
            results.write(PORTS, settings, rows, failures)
    for line in failures:
        print(f"bench: {line}", file=sys.stderr)
    return 1 if failures else judged(rows)


def _measured(chain: type[InTurn], folder: Path, far: str, what: Run) -> dict[str, Any]:
    place = FarPlace(folder, 1, free_port(), far=far)
    with chain(place) as started:
        command = place.load().command(
            churn=OPEN_MOST, pace=what.each_second, warm=0.2, seconds=what.seconds, spread=True
        )
        done = subprocess.run(command, capture_output=True, text=True, timeout=what.seconds + 60, check=False)
        time.sleep(0.2)
        status = read_status(started.admin(0))
    if done.returncode and chain is InTurn:
        raise BenchError(f"{done.stderr.strip()}; refused: {status.refusals}")
    wall, cpu = _taken(started.timed)
    return {
        "peer": chain.name,
        "each_second": what.each_second,
        "seconds": what.seconds,
        "local_ports": list(what.ports),
        "connects": len(wall),
        "wall_us": _figures(wall),
        "cpu_us": _figures(cpu),
        "no_local_port": sum(count for reason, count in status.refusals.items() if "no-local-port" in reason),
        "broke_off": done.stderr.strip(),
    }


def _taken(path: Path) -> tuple[list[float], list[float]]:
    """Microseconds of each call, by the wall and by the processor."""
    pairs = [pair for pair in struct.iter_unpack("=II", path.read_bytes()) if pair[0]]
    return [wall / 1e3 for wall, _ in pairs], [cpu / 1e3 for _, cpu in pairs]


def _figures(taken: Sequence[float]) -> dict[str, float]:
    ordered = sorted(taken)
    shares = {"median": 0.5, "p99": 0.99, "p99.9": 0.999}
    found = {name: ordered[min(int(len(ordered) * share), len(ordered) - 1)] for name, share in shares.items()}
    return {**found, "most": ordered[-1], "above": sum(each > MOST_US for each in ordered)}


def line_of(row: dict[str, Any]) -> str:
    words = [f"{row['peer']:16} {row['connects']:7,} connects at {row['each_second']:,}/s"]
    for clock in ("wall", "cpu"):
        figures = row[f"{clock}_us"]
        parts = [f"{name} {figures[name]:.0f}" for name in ("median", "p99", "p99.9", "most")]
        words.append(f"{clock}: {', '.join(parts)} us, {figures['above']} above {MOST_US:.0f}")
    words.append(f"{row['no_local_port']} without a port" + (f"; {row['broke_off']}" if row["broke_off"] else ""))
    return "\n    ".join(words)


def judged(rows: Sequence[dict[str, Any]]) -> int:
    """1 if ports in turn are not what they are to be."""
    ours = next(row for row in rows if row["peer"] == InTurn.name)
    is_short = ours["connects"] < 0.9 * ours["each_second"] * ours["seconds"]
    is_slow = ours["cpu_us"]["p99"] > max(MOST_US, MOST_TIMES * ours["cpu_us"]["median"])
    for is_so, words in (
        (is_short, "fewer connections than there were to be"),
        (
            is_slow,
            f"of a hundred connect() one takes over {MOST_US:.0f} us of the processor and {MOST_TIMES} times the usual",
        ),
        (ours["no_local_port"], "connections failed for want of a port"),
    ):
        if is_so:
            print(f"ports in turn: {words}", file=sys.stderr)
    return int(bool(is_short or is_slow or ours["no_local_port"]))


@contextmanager
def _two_networks(ports: tuple[int, int]) -> Iterator[str]:
    """The far namespace, joined to this one by a veth pair; TIME-WAIT of a run before is gone with it."""
    far = f"pcgrelay-ports-{os.getpid()}"
    own_network.enter(ports)
    _ip("netns", "add", far)
    try:
        _ip("link", "add", f"{DEVICE}0", "type", "veth", "peer", "name", f"{DEVICE}1", "netns", far)
        _ip("address", "add", f"{NEAR}/24", "dev", f"{DEVICE}0")
        _ip("link", "set", f"{DEVICE}0", "up")
        _ip("-n", far, "address", "add", f"{FAR}/24", "dev", f"{DEVICE}1")
        _ip("-n", far, "link", "set", f"{DEVICE}1", "up")
        _ip("-n", far, "link", "set", "lo", "up")
        yield far
    finally:
        _ip("netns", "delete", far)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"ip {' '.join(words)}: {done.stderr.strip()}")


if __name__ == "__main__":
    raise SystemExit(run(chosen()))
