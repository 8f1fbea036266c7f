"""A fleet, from 2 to 200 relays: what the catalogue costs each of them. python -m benches.bench_fleet

In a full mesh and with six neighbours each; 40 edges for each relay, on two relays each, with ten services each. A
sample of the edges is simulated in the whole fleet; what one relay has of all edges is measured at one relay, which is
told of them as it was told of the sample. BENCH=short takes some seconds. Results: build/bench/fleet.json, and in the
full form docs/performance/fleet.json with its plots, the section of docs/performance.md and the tables of
docs/scaling.md.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benches import fleet_report, results
from benches.fleet import (
    EDGES_EACH,
    FEATURES,
    IMPORTS,
    RENEWED_EACH_S,
    SERVICES,
    TRIP_MS,
    End,
    Fleet,
    Identities,
    Node,
    edge_id,
    offers_of,
)
from benches.settings import Settings, chosen
from pcgrelay.catalogue.entries import SignedEntry, sign_entry
from pcgrelay.catalogue.interest import make_want
from pcgrelay.messages import Advert, encode_message
from pcgrelay.model import NodeId, Role, ServiceName
from tests.support.nodes_in_process import KENT


@dataclass(frozen=True)
class Size:
    """How much of a fleet is simulated."""

    relays: tuple[int, ...]
    samples: int  # edges whose changes go through the whole fleet
    lost: int  # edges of the relay that is lost
    lost_of: int  # in a fleet of so many relays
    whole_up_to: int  # relays up to which one of them is told of all edges


SIZES = {
    "full": Size((2, 5, 10, 20, 50, 100, 200), 3, 2 * EDGES_EACH, 50, 50),
    "short": Size((2, 10, 20), 2, 10, 20, 10),
    "tiny": Size((2, 4), 1, 2, 4, 2),
}
DEGREES = (("full mesh", None), ("6 neighbours", 6))


def run(settings: Settings) -> list[dict[str, Any]]:
    return asyncio.run(_run(settings))


async def _run(settings: Settings) -> list[dict[str, Any]]:
    size, rows = SIZES[settings.name], []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        identities = Identities(Path(name))
        # First the fleet for which there are targets: a run that is broken off has it.
        for count in sorted(size.relays, key=lambda relays: (relays != size.lost_of, relays)):
            for mesh, degree in DEGREES:
                for row in _measured(identities, size, mesh, count, degree):
                    rows.append(row)
                    print(fleet_report.line(row), flush=True)
                    results.write("fleet", settings, rows, [])
    return sorted(rows, key=lambda row: (row["mesh"] != DEGREES[0][0], row["relays"]))


def _measured(
    identities: Identities, size: Size, mesh: str, count: int, degree: int | None
) -> Iterator[dict[str, Any]]:
    common = {"mesh": mesh, "relays": count, "edges": count * EDGES_EACH}
    fleet = _fleet(identities, count, degree, size.samples, FEATURES)
    change = {**common, "what": "change", **_changes(fleet, count)}
    if count <= size.whole_up_to:
        whole = {**common, "what": "whole", **_whole(fleet, count * EDGES_EACH, size.samples)}
        yield {**change, "tick_ms": whole["tick_ms"]}
        yield whole
    else:
        yield change
    if count == size.lost_of:
        told_all = _fleet(identities, count, degree, 2, ())
        yield {**common, "what": "everything", **_changes(told_all, count)}
        yield {**common, "what": "loss", **_loss(identities, count, degree, size.lost)}


def _fleet(identities: Identities, count: int, degree: int | None, samples: int, features: tuple[str, ...]) -> Fleet:
    fleet = Fleet(identities, count, degree, features)
    for relay in fleet.relays:
        fleet.add_silent_edges(relay, 2 * EDGES_EACH, samples)
    for number in range(samples):
        fleet.add_edge((number % count, (number + 1 + count // 3) % count), range(samples))
    fleet.settle()
    return fleet


# -- one change, in the whole fleet -----------------------------------------------------------------------------------


def _changes(fleet: Fleet, count: int) -> dict[str, Any]:
    """Sign each entry of the sample again; return the means."""
    cpu_s, known_ms, quiet_ms = 0.0, 0, 0
    totals = {"to_relays": 0, "to_edges": 0, "bytes": 0, "heard": 0}
    for number, edge in enumerate(fleet.edges):
        fleet.rest()
        before, heard = _bytes(fleet), _heard(fleet)
        edge.exchange.offer(offers_of(number))
        sequence = edge.exchange.own.sequence
        began = time.process_time()
        quiet, known = fleet.settle(edge.id, sequence, [*fleet.relays, *(each for each in fleet.edges if each != edge)])
        cpu_s += time.process_time() - began
        known_ms, quiet_ms = max(known_ms, known), max(quiet_ms, quiet)
        totals["bytes"] += _bytes(fleet) - before
        totals["heard"] += _heard(fleet) - heard
        for (_, _, to), sent in fleet.sent.items():
            totals["to_relays" if to is Role.RELAY else "to_edges"] += sent
    changes = len(fleet.edges)
    each = cpu_s / changes / count
    return {
        "relay_ms": each * 1000,
        "share": each * count * EDGES_EACH / RENEWED_EACH_S,
        "round_trips": known_ms / (2 * TRIP_MS),
        "quiet_ms": quiet_ms,
        **{name: total / changes for name, total in totals.items() if name != "heard"},
        # Of an edge that imports from the edge that changed, or is told everything.
        "heard_each": totals["heard"] / changes / max(1, len(fleet.edges) - 1),
    }


def _bytes(fleet: Fleet) -> int:
    return sum(end.bytes for relay in fleet.relays for end in relay.links.values())


def _heard(fleet: Fleet) -> int:
    return sum(end.other.told for edge in fleet.edges for end in edge.links.values() if end.other)


# -- one relay and all edges ------------------------------------------------------------------------------------------


def _whole(fleet: Fleet, edges: int, samples: int) -> dict[str, Any]:
    """Let the last relay start anew and be told of all edges, as its neighbours told it of the sample."""
    relay = fleet.relays[-1]
    signed = _signed(fleet, edges)
    fleet.rest()
    cpu_s, adverts, node = _told(fleet, relay, signed, samples)
    ways = sum(len(node.exchange.catalogue.ways(edge)) for edge in node.exchange.catalogue.edges())
    want_ms, tick_ms = _want(node, edges), _tick(fleet, node)
    lost = next(end for end in node.links.values() if end.peer_role is Role.RELAY)
    began = time.process_time()
    node.lose(lost)
    down_s = time.process_time() - began
    assert not node.exchange.refused, node.exchange.refused
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        _, _, node = _told(fleet, relay, signed, samples)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        node.exchange._propagation._told.clear()
        node.exchange._propagation._settled.clear()
        gc.collect()
        catalogue = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    return {
        "cold_s": cpu_s,
        "adverts": adverts,
        "ways": ways,
        "catalogue_mb": catalogue / 1e6,
        "told_mb": (held - catalogue) / 1e6,
        "way_bytes": catalogue / ways,
        "link_down_ms": down_s * 1000,
        "want_ms": want_ms,
        "tick_ms": tick_ms,
    }


def _want(node: Node, edges: int) -> float:
    """Let an edge that imports nothing yet say what it imports; return the milliseconds until it is told of it."""
    end: Any = next(end for end in node.links.values() if end.peer_role is Role.EDGE and not end.told)
    services = [ServiceName(f"service-{number}-0", KENT) for number in range(0, edges, max(1, edges // IMPORTS))]
    want = make_want(services, (), ())
    began = time.process_time()
    node.exchange.receive(end, want)
    found_ms = 1000 * (time.process_time() - began)
    assert end.told == len(services), end.told
    return found_ms


def _tick(fleet: Fleet, node: Node) -> float:
    """Return the milliseconds of what a relay does each second when nothing has changed for a while."""
    for _ in range(2):
        fleet.clock.advance(60_000)
        began = time.process_time()
        node.exchange.tick()
        found_ms = 1000 * (time.process_time() - began)
    return found_ms


def _signed(fleet: Fleet, edges: int) -> list[SignedEntry]:
    now_s = int(fleet.clock.wall().timestamp())
    found = []
    for number in range(edges):
        identity = edge_id(1_000_000 + number)
        local = fleet.identities.edge(identity)
        key, chain = local.credentials.key, local.chain
        sequence, not_after = now_s * 1000, now_s + 1_700
        found.append(
            sign_entry(identity, offers_of(number), sequence=sequence, not_after=not_after, key=key, chain=chain)
        )
    return found


def _told(fleet: Fleet, like: Node, signed: list[SignedEntry], samples: int) -> tuple[float, int, Node]:
    """Make a relay with such neighbours and tell it; return its processor seconds and how many adverts it was told."""
    node = Node(fleet, like.local)
    for end in like.links.values():
        End(node, end.number, end.peer, end.peer_role)
    for number, interest in like.exchange._interests._held.items():
        node.exchange._interests._taken(number, interest)
    paths = [like.exchange.catalogue.ways(edge.id) for edge in fleet.edges]
    relays = [end for end in node.links.values() if end.peer_role is Role.RELAY]
    cpu_s, adverts = 0.0, 0
    for first in range(0, len(signed), 20):  # each neighbour tells some of them, and then the next
        for end in relays:
            bodies = []
            for number in range(first, min(first + 20, len(signed))):
                entry, way = signed[number], paths[number % samples].get(end.number)
                if way is not None:
                    bodies.append(encode_message(Advert(entry.entry, entry.signature, entry.chain, way.path)))
            began = time.process_time()
            for body in bodies:
                node.receive(end, body)
            cpu_s += time.process_time() - began
            adverts += len(bodies)
    return cpu_s, adverts, node


# -- the loss of a relay ----------------------------------------------------------------------------------------------


def _loss(identities: Identities, count: int, degree: int | None, lost: int) -> dict[str, Any]:
    """End all links of a relay with so many edges, each of which hangs on another relay too."""
    fleet = Fleet(identities, count, degree, ())
    for number in range(lost):
        fleet.add_edge((0, 1 + number % (count - 1)))
        fleet.settle()
    fleet.rest()
    gone, gaps = fleet.relays[0], _Gaps(fleet)
    began = time.process_time()
    for end in list(gone.links.values()):
        assert end.other is not None
        end.controlled = False
        end.other.node.lose(end.other)
        gaps.look(end.other.node)
    settled_ms, _ = fleet.settle()
    cpu_s, adverts = time.process_time() - began, sum(fleet.sent.values())
    fleet.rest()  # so that edges are told what they are told later
    fleet.settle()
    others = fleet.relays[1:]
    missing = sum(not relay.exchange.catalogue.ways(edge.id) for relay in others for edge in fleet.edges)
    return {
        "lost_edges": lost,
        "settled_ms": settled_ms,
        "relay_ms": 1000 * cpu_s / len(others),
        "adverts": adverts,
        "missing": missing + len(gaps.since),
        "held_back": sum(relay.exchange.refused["advert_flapping"] for relay in others),
        "flaps": gaps.count,
        "longest_gap_ms": gaps.longest_ms,
    }


class _Gaps:
    """Times in which an edge knows no way to another one that it knew before."""

    def __init__(self, fleet: Fleet) -> None:
        self.since: dict[tuple[Node, NodeId], int] = {}
        self.count = self.longest_ms = 0
        self._clock = fleet.clock
        self._edges = [edge.id for edge in fleet.edges]
        fleet.delivered = self.look

    def look(self, node: Node) -> None:
        if node.role is Role.RELAY:
            return
        now = self._clock.monotonic_ms()
        for edge in self._edges:
            if edge == node.id or node.exchange.catalogue.ways(edge):
                began = self.since.pop((node, edge), now)
                self.longest_ms = max(self.longest_ms, now - began)
            elif (node, edge) not in self.since:
                self.since[node, edge] = now
                self.count += 1


def main() -> int:
    settings = chosen()
    rows = run(settings)
    if settings.name == "full":
        fleet_report.write({"machine": results.machine(), "services": SERVICES, "imports": IMPORTS, "rows": rows})
    return fleet_report.judged(rows, timed=settings.name == "full")


if __name__ == "__main__":
    sys.exit(main())
