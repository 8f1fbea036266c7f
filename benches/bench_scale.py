"""Rung 5: workers, and what a frame costs beside many idle streams, routes and links. Flat is right.

Streams are held open at real nodes. Routes (paths of a relay) and links are more than a bench wants to configure, so
those go to cores in this process, whose workers have the gateways' processor.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benches import results
from benches.chain import Place
from benches.generator import Load, held, measure
from benches.peers.pcgrelay.peer import Pcgrelay
from benches.processes import BenchError, free_port
from benches.settings import GATEWAY_CPU, HOST, Settings, allow_many_descriptors, chosen
from tests.support.cores import CoreRealm  # the cores of the tests

STREAMS = [1, 10, 100, 1_000, 5_000, 20_000]
ROUTES = [1, 10, 100, 1_000, 10_000, 100_000]
LINKS = [1, 5, 20, 50, 100, 200]
REQUESTS = 16
MEMORY = 512 << 20
# Whether a line is flat shows only where the windows are long enough for the noise of the machine.
WINDOW_S = {"full": 1.0}
WORKERS = {"bulk 8": {"bulk": 8}, "request 64 x 64 B": {"request": 64}, "open 32": {"churn": 32}}


def run(settings: Settings) -> None:
    limit = allow_many_descriptors()
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        for number in range(settings.rounds):
            for part in (_workers, _streams, _routes, _links):
                try:
                    for row in part(settings, Path(name) / f"{number}-{part.__name__}", limit):
                        rows.append({"round": number, **row})
                        print(_line(row), flush=True)
                except (BenchError, OSError) as error:
                    failures.append(f"{part.__name__.strip('_')}: {error}")
                results.write("scale", settings, rows, failures)


def _times(settings: Settings) -> dict[str, float]:
    return {"warm": settings.warm_s, "seconds": WINDOW_S.get(settings.name, settings.window_s)}


def _request_row(what: str, count: int, figures: dict[str, Any]) -> dict[str, Any]:
    micros = 1e6 * sum(figures["cpu_s"].values()) / max(1, figures["requests"])
    rate = figures["requests"] / figures["seconds"]
    return {"what": what, "count": count, "cpu_us": micros, "rate": rate, "p99_us": figures["p99_us"]}


def _workers(settings: Settings, folder: Path, _: int) -> Iterator[dict[str, Any]]:
    """One and two workers for each node, which may use every processor; so may the load."""
    for workers in (1, 2):
        place = Place(folder / str(workers), 2, free_port(), cpu=None, workers=workers)
        with Pcgrelay(place) as chain:
            for case, options in WORKERS.items():
                load = replace(place.load(), cpu=None)
                figures = measure(load, chain.pids(), **_times(settings), **options)
                done = figures["bytes"] / 1e6 or figures["requests"] or figures["opens"]
                rate, cpu = done / figures["seconds"], sum(figures["cpu_s"].values())
                yield {"what": f"workers, {case}", "count": workers, "rate": rate, "cpu_us": 1e6 * cpu / max(1, done)}


def _streams(settings: Settings, folder: Path, limit: int) -> Iterator[dict[str, Any]]:
    """Requests on a few streams, while so many others are open and silent."""
    for count in STREAMS:
        possible = min(count, limit - 1_000)
        place = Place(folder / str(count), 2, free_port(), connections=possible + 1_000)
        with Pcgrelay(place) as chain, held(place.load(), possible):
            # The server of the silent ones serves these too.
            load = replace(place.load(), bind_port=0)
            figures = measure(load, chain.pids(), request=REQUESTS, **_times(settings))
            yield _request_row("streams", possible, figures)


def _routes(settings: Settings, _folder: Path, _limit: int) -> Iterator[dict[str, Any]]:
    for count in ROUTES:
        yield _request_row("routes", count, _through_a_relay(settings, routes=count, links=1))


def _links(settings: Settings, _folder: Path, _limit: int) -> Iterator[dict[str, Any]]:
    for count in LINKS:
        yield _request_row("links", count, _through_a_relay(settings, routes=1, links=count))


def _through_a_relay(settings: Settings, *, routes: int, links: int) -> dict[str, Any]:
    """Requests through a relay with so many paths and links that carry nothing."""
    before = os.sched_getaffinity(0)
    # Threads take the processor of the thread that makes them.
    os.sched_setaffinity(0, {GATEWAY_CPU})
    realm = CoreRealm()
    try:
        near, far = realm.edge(memory=MEMORY), realm.edge(memory=MEMORY)
        relay = realm.relay(memory=MEMORY)
        neighbour = realm.relay(memory=MEMORY) if links > 1 else None
        near_link, far_link = realm.link(near, relay), realm.link(relay, far)
        # Before the idle paths: behind so many orders for the relay its own would come too late.
        session = realm.session(near, far, [(relay, near_link)], far_link)
        for _ in range(links - 1):
            assert neighbour is not None
            realm.link(relay, neighbour)
        for _ in range(routes - 1):
            labels = [realm.number() for _ in range(4)]
            relay.core.path_add(
                realm.number(),
                a_link=near_link,
                a_in=labels[0],
                a_out=labels[1],
                b_link=far_link,
                b_in=labels[2],
                b_out=labels[3],
                cap=8 << 20,
                priority=0,
            )
        port = free_port()
        door = realm.service(near, far, session, (HOST, port))
        load = Load(door[0], door[1], bind_port=port)
        return measure(load, {os.getpid(): "all"}, request=REQUESTS, **_times(settings))
    finally:
        realm.close()
        os.sched_setaffinity(0, before)


def _line(row: dict[str, Any]) -> str:
    return f"{row['what']:28} {row['count']:7} {row['rate']:10.0f}/s {row['cpu_us']:9.2f} us each"


if __name__ == "__main__":
    run(chosen())
