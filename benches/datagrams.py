"""Chains that carry datagrams, and what is measured of them. The load is `benches/load/datagrams.c`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benches.cases import Case, Figures
from benches.chain import Chain
from benches.generator import DatagramLoad, measure
from benches.settings import Settings

# One gateway, which sends to the server itself.
ALONE = "edge-direct"
# The load keeps at most so many underway together: what the sockets of every peer hold, whose size is the system's.
IN_FLIGHT = 64
ASSOCIATIONS = (1, 64)
SIZES = (64, 200, 1_200)
CALLS, PACKETS_EACH_S, CALL_S = 20, 50, 2.0
QUERIES = 32
# At which all peers let go of an association that nobody uses. The load begins others each time.
IDLE_S = 3


class Datagrams(Chain):
    """A chain that carries datagrams. Where it listens, the proof says."""

    def load(self) -> DatagramLoad:
        place = self.place
        last = place.hosts[place.hops - 1]
        return DatagramLoad(place.hosts[0], place.ports[0], last, place.target_port)

    def listening_ports(self) -> list[tuple[str, int]]:
        return []

    def roots(self) -> dict[int, str]:
        """The processes that were started here: what they start for an association the load finds itself."""
        return {process.pid: process.role for process in self.processes}


class NoGateway(Datagrams):
    """Clients send to the server itself: what load and system do at most."""

    name = "no gateway"

    def load(self) -> DatagramLoad:
        place = self.place
        return DatagramLoad(place.hosts[0], place.target_port, place.hosts[0], place.target_port)

    def start_hops(self) -> None:
        """Nothing is to be started."""


def _measured(at_least_s: float = 0.0, **options: int) -> Callable[[Chain, Settings], Figures]:
    def run(chain: Chain, settings: Settings) -> Figures:
        assert isinstance(chain, Datagrams)
        words = {name.replace("_", "-"): value for name, value in options.items()}
        seconds = max(at_least_s, settings.window_s)
        return measure(chain.load(), chain.roots(), warm=settings.warm_s, seconds=seconds, **words)

    return run


def _flow(size: int, associations: int) -> Case:
    several = f"{associations} associations" if associations > 1 else "1 association"
    run = _measured(flow=associations, in_flight=IN_FLIGHT, size=size)
    return Case(f"{size:,} B, {several}", "flow", run, relayed=True)


CASES = [
    *(_flow(size, associations) for associations in ASSOCIATIONS for size in SIZES),
    Case(
        f"{CALLS} calls", "calls", _measured(CALL_S, calls=CALLS, pace=PACKETS_EACH_S, size=200), relayed=True
    ),
    Case(f"{QUERIES} queries at a time", "queries", _measured(queries=QUERIES, size=64), relayed=True),
]  # fmt: skip


def packet_rate(row: Mapping[str, Any]) -> float | None:
    """Datagrams that arrived in a second; of calls and queries, those that were answered."""
    return row["packets"] / row["seconds"] if row.get("packets") else None


def packet_cpu(row: Mapping[str, Any]) -> float | None:
    """Processor time of all gateways for each of these, in s."""
    cpu = sum(row["cpu_s"].values())
    return cpu / row["packets"] if row.get("packets") and cpu else None


def packet_loss(row: Mapping[str, Any]) -> float | None:
    """The share of what was sent that never came."""
    return max(0, row["lost"]) / row["sent"] if row.get("sent") else None
