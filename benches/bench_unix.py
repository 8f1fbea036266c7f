"""A small request over unix sockets beside one over TCP, in one run: what it costs two edges, and how many there are.

    python -m benches.bench_unix [ROUNDS [CONNECTIONS]]

Both ways lead through the same two nodes: an import and a target on loopback, and an import and a target that are unix
sockets. Rounds are interleaved. The cost is the processor time of both nodes for each request, which load and server,
written in Python, do not disturb; the rate is bound by these, and says less.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.scenarios.kit.nodes import HOST, KENT
from tests.scenarios.kit.two_edges import Pair, pair
from tests.support.ports import free_port

CONNECTIONS = 16
SIZE = 64
ROUND_S = 2.0
ROUNDS = 9
Place = tuple[str, int] | str


async def _open(where: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await (asyncio.open_unix_connection(where) if isinstance(where, str) else asyncio.open_connection(*where))


async def _serve(port: int, path: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    tcp, unix = await asyncio.start_server(echo, HOST, port), await asyncio.start_unix_server(echo, path)
    await asyncio.gather(tcp.serve_forever(), unix.serve_forever())


def serve(port: int, path: str) -> None:
    asyncio.run(_serve(port, path))


async def _requests(where: Place, connections: int) -> int:
    async def one(until: float) -> int:
        reader, writer = await _open(where)
        count = 0
        while time.monotonic() < until:
            writer.write(bytes(SIZE))
            await reader.readexactly(SIZE)
            count += 1
        writer.close()
        return count

    until = time.monotonic() + ROUND_S
    return sum(await asyncio.gather(*(one(until) for _ in range(connections))))


def measured(edges: Pair, where: Place, connections: int) -> tuple[float, float]:
    """Requests in a second, and microseconds of processor time of both nodes for each."""
    nodes = (edges.importer, edges.exporter)
    before, began = sum(node.cpu_s for node in nodes), time.monotonic()
    count = asyncio.run(_requests(where, connections))
    took = time.monotonic() - began
    return count / took, 1e6 * (sum(node.cpu_s for node in nodes) - before) / count


def run(rounds: int = ROUNDS, connections: int = CONNECTIONS) -> None:
    with tempfile.TemporaryDirectory(prefix="pcgrelay-bench-") as name:
        folder, ports = Path(name), (free_port(), free_port())
        target, door = str(folder / "target.sock"), str(folder / "door.sock")
        exports = [
            {"service": "tcp", "target": f"{HOST}:{ports[0]}"},
            {"service": "unix", "target": f"unix:{target}"},
        ]
        imports = [
            {"service": f"tcp@{KENT}", "listen": f"{HOST}:{ports[1]}"},
            {"service": f"unix@{KENT}", "listen": f"unix:{door}"},
        ]
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(ports[0], target), daemon=True)
        server.start()
        try:
            with pair(folder, exports, imports) as edges:
                ways: dict[str, Place] = {"tcp": (HOST, ports[1]), "unix": door}
                found: dict[str, list[tuple[float, float]]] = {"tcp": [], "unix": []}
                for number in range(rounds):
                    for way in sorted(ways, reverse=bool(number % 2)):
                        found[way].append(measured(edges, ways[way], connections))
        finally:
            server.kill()
    cost = {}
    for way, rows in found.items():
        cost[way] = median(each for _, each in rows)
        rates = median(rate for rate, _ in rows)
        print(f"{way:5} {rates:8,.0f} requests/s, {cost[way]:.1f} us of both edges each")
    ratios = sorted(unix[1] / tcp[1] for unix, tcp in zip(found["unix"], found["tcp"], strict=True))
    print(f"unix to tcp: {cost['unix'] / cost['tcp']:.2f} of the processor time ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
