"""A fleet on loopback: a store of three members, three relays, an exporter, and edges of the Met that move one service.

Each edge has the service over the gateway and over an old network, and `echo` over the gateway alone. Nodes that a test
cuts off from the store reach it over a line of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CutoverStatus
from pcgrelay.fleet.values import root_of
from tests.scenarios.kit.cut_over import says
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import reload
from tests.support.applications import echo, server
from tests.support.etcd_members import EtcdMembers, etcd_members
from tests.support.pki import REALM
from tests.support.ports import free_port
from tests.support.waiting import receive, until

ROOT = root_of(REALM)
SERVICE = f"named@{KENT}"
STATE_KEY = f"{ROOT}cutover/{MET}/{SERVICE}/state"
STEPS = tuple(range(5, 101, 5))
PLAN = f"""\
[cutover]
service = "{SERVICE}"
from = "cjx"
to = "gateway"
back = ["cjx"]
steps = {list(STEPS)}
soak = "2s"
deadline = 2150-01-01

[gate]
streams = 0
failures = "100 %"
setup = "1000 % or 5000 ms"
answer = "1000 % or 5000 ms"

[shadow]
pace = "12 / min"
"""
PERIOD_S = 0.2


class StoreLine:
    """The way of one node to the members of the store: it can be cut, and mended."""

    def __init__(self, targets: list[int]) -> None:
        self.ports = [free_port() for _ in targets]
        self._targets = targets
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.Task[None]] = set()

    def __enter__(self) -> StoreLine:
        self._thread.start()
        self.mend()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def endpoints(self) -> list[str]:
        return [f"https://{HOST}:{port}" for port in self.ports]

    def cut(self) -> None:
        asyncio.run_coroutine_threadsafe(self._cut(), self._loop).result(10)

    def mend(self) -> None:
        asyncio.run_coroutine_threadsafe(self._mend(), self._loop).result(10)

    async def _cut(self) -> None:
        for made in self._servers:
            made.close()
        self._servers.clear()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _mend(self) -> None:
        for port, target in zip(self.ports, self._targets, strict=True):

            async def between(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int = target) -> None:
                task = asyncio.current_task()
                assert task is not None
                self._open.add(task)
                try:
                    far_reader, far_writer = await asyncio.open_connection(HOST, target)
                    try:
                        await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
                    finally:
                        far_writer.transport.abort()
                except (OSError, asyncio.CancelledError):
                    pass
                finally:
                    writer.transport.abort()
                    self._open.discard(task)

            self._servers.append(await asyncio.start_server(between, HOST, port, reuse_address=True))


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    raise ConnectionAbortedError


class Steady:
    """A stream over the gateway that must not break: a question now and then, and its answer."""

    def __init__(self, door: Address) -> None:
        self.answered = 0
        self.fault = ""
        self.longest_s = 0.0
        self.door = door
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Steady:
        self._thread.start()
        until(lambda: self.answered > 0 or self.fault != "", 30)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        try:
            with socket.create_connection(self.door, timeout=60) as connection:
                for number in itertools.count():
                    if self._stop.wait(PERIOD_S):
                        return
                    word, began = b"%016d" % number, time.monotonic()
                    connection.sendall(word)
                    answer = receive(connection, len(word))
                    assert answer == word, (answer, word)
                    self.longest_s = max(self.longest_s, time.monotonic() - began)
                    self.answered += 1
        except (OSError, AssertionError) as error:
            self.fault = f"{type(error).__name__}: {error}"


@dataclass
class Checker:
    """Looks at each edge again and again, and compares what is in force with the epochs."""

    edges: list[Node]
    decisions: dict[int, tuple[int, str, int]] = field(default_factory=dict)  # by epoch: run, phase, step
    contradictions: list[str] = field(default_factory=list)
    looks: int = 0
    _last: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Checker:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            for edge in self.edges:
                with suppress(Exception):
                    self.look(edge, told(edge))

    def look(self, edge: Node, status: CutoverStatus) -> None:
        shared = status.shared
        if shared is None:
            return
        self.looks += 1
        if shared.epoch < self._last.get(edge.dotted, 0):
            self.contradictions.append(f"{edge}: epoch {shared.epoch} after {self._last[edge.dotted]}")
        self._last[edge.dotted] = shared.epoch
        if status.phase in ("soaking", "paused") and status.share not in (0.0, float(STEPS[status.step - 1])):
            self.contradictions.append(f"{edge}: {status.share} % at step {status.step}")
        if status.phase == "back" and status.share:
            self.contradictions.append(f"{edge}: {status.share} % though it is back")
        if shared.in_force:
            # Of a cut-over that is back or has arrived the step says nothing.
            step = status.step if status.phase in ("soaking", "paused") else 0
            phase = "arrived" if status.phase == "quiet" else status.phase
            here = shared.run, phase, step
            if (there := self.decisions.setdefault(shared.epoch, here)) != here:
                self.contradictions.append(f"{edge}: {here} by epoch {shared.epoch}, and {there} elsewhere")


def told(edge: Node) -> CutoverStatus:
    """The cut-over, as an edge tells it."""
    code, body = edge.asked(f"/v1/cutover?{urlencode({'service': SERVICE})}")
    assert code == 200, body
    return msgspec.json.decode(body, type=CutoverStatus)


def act(edge: Node, what: str, body: bytes = b"", **words: str) -> CutoverStatus:
    """Ask something of the cut-over at an edge."""
    query = urlencode({"service": SERVICE, "act": what, "reason": "INC-77", "by": "night shift", **words})
    return ask(edge.admin, "POST", f"/v1/cutover?{query}", CutoverStatus, 30.0, body=body)


class SharedFleet:
    """All of it."""

    def __init__(self, folder: Path, stack: ExitStack, edges: int) -> None:
        self.stage = stack.enter_context(Stage(folder))
        self.etcd: EtcdMembers = stack.enter_context(etcd_members(folder / "etcd", self.stage.pki))
        ports = [member.client_port for member in self.etcd.members]
        self.relay_line = stack.enter_context(StoreLine(ports))
        self.edge_line = stack.enter_context(StoreLine(ports))
        new = stack.enter_context(server(says(b"new ")))
        old = stack.enter_context(server(says(b"old ")))
        far = stack.enter_context(server(echo))
        listens = [free_port() for _ in range(3)]
        self._relay_tables: dict[int, dict[str, Any]] = {
            number: {
                "listens": [host_port(port)],
                "links": [
                    {"peer": f"relay-{other}.{HUB}", "address": host_port(listens[other - 1])}
                    for other in range(1, number)
                ],
                "fleet": self._fleet(self.relay_line if number == 3 else None),
            }
            for number, port in enumerate(listens, 1)
        }
        self.relays = [
            self.stage.relay(f"relay-{number}", **tables, node_table={"lanes": 1})
            for number, tables in self._relay_tables.items()
        ]

        def links(*numbers: int) -> list[dict[str, Any]]:
            return [{"peer": f"relay-{number}.{HUB}", "address": host_port(listens[number - 1])} for number in numbers]

        self.kent = self.stage.node(
            KENT,
            "kent-1",
            links=links(1, 2, 3),
            exports=[
                {"service": "named", "target": host_port(new[1]), "allow": [MET]},
                {"service": "echo", "target": host_port(far[1]), "allow": [MET]},
            ],
            fleet=self._fleet(None),
            node_table={"lanes": 1},
        )
        self.doors: dict[str, Address] = {}
        self.echo_doors: dict[str, Address] = {}
        self.edges = [self._edge(folder, number, links, old) for number in range(1, edges + 1)]

    def _edge(self, folder: Path, number: int, links: Any, old: Address) -> Node:
        name = f"met-{number}"
        state = folder / f"{name}.state"
        state.mkdir(mode=0o700)
        self.doors[name], self.echo_doors[name] = (HOST, free_port()), (HOST, free_port())
        first = number % 3 + 1
        return self.stage.node(
            MET,
            name,
            node_table={"state": str(state), "lanes": 1},
            links=links(first, first % 3 + 1),
            imports=[
                {"service": SERVICE, "listen": host_port(self.doors[name][1]), "outlet": "cjx"},
                {"service": f"echo@{KENT}", "listen": host_port(self.echo_doors[name][1])},
            ],
            directs=[
                {"service": SERVICE, "name": "cjx", "address": host_port(old[1]), "bearer": "cjx", "probe": "none"}
            ],
            bearers=[{"name": "cjx", "marking": "OFFICIAL"}],
            fleet=self._fleet(self.edge_line if number == 1 else None),
        )

    def bring(self, relay: Node, bundle: Path) -> None:
        """Give a relay a bundle by its file."""
        number = self.relays.index(relay) + 1
        self.stage.relay(
            f"relay-{number}",
            **self._relay_tables[number],
            node_table={"lanes": 1},
            realm_table={"bundle": str(bundle)},
        )
        answer = reload(relay)
        assert answer.ok, answer

    def _fleet(self, line: StoreLine | None) -> dict[str, Any]:
        return {"store": "etcd", "endpoints": self.etcd.endpoints if line is None else line.endpoints}

    @property
    def cut_relay(self) -> Node:
        """The relay whose line to the store can be cut."""
        return self.relays[2]

    @property
    def cut_edge(self) -> Node:
        """The edge whose line to the store can be cut."""
        return self.edges[0]

    # -- the cut-over ------------------------------------------------------------------------------------------

    def start(self, *, again: bool) -> None:
        """Start it at each edge."""
        for edge in self.edges:
            answer = act(edge, "start", PLAN.encode(), again="1" if again else "", file="named.plan.toml")
            assert not answer.reason, answer.reason

    def go_back(self) -> None:
        """Have all of them back."""
        act(self.edges[-1], "back")
        self.await_phase("back", 20)

    def await_phase(self, phase: str, seconds: float, edges: list[Node] | None = None) -> float:
        """Wait until all edges are there; how long it took."""
        began = time.monotonic()
        until(lambda: {told(edge).phase for edge in edges or self.edges} == {phase}, seconds)
        return time.monotonic() - began

    def step(self, edges: list[Node] | None = None) -> int:
        """The least step that all of them have made."""
        return min(told(edge).step for edge in edges or self.edges)

    def await_steps(self, more: int, seconds: float, edges: list[Node] | None = None) -> None:
        """Wait until all have made so many steps more, or have arrived."""
        wanted = min(self.step(edges) + more, len(STEPS))
        until(
            lambda: all(
                status.phase == "arrived" or status.step >= wanted
                for status in map(told, edges or self.edges)
            ),
            seconds,
        )  # fmt: skip

    # -- what the store shows ----------------------------------------------------------------------------------

    def seen_at(self, node: Node) -> set[str]:
        """The nodes that a node shows of the fleet."""
        code, body = node.asked("/v1/fleet")
        assert code == 200, body
        return {each["node"] for each in json.loads(body)["nodes"]}

    def lives_at(self, node: Node) -> bool:
        """Whether the store is live for a node."""
        code, body = node.asked("/v1/fleet")
        assert code == 200, body
        return bool(json.loads(body)["status"]["live"])

    @property
    def nodes(self) -> list[Node]:
        return [*self.relays, self.kent, *self.edges]


class Applications:
    """Applications that connect to the moved service at all edges in turn; each is answered by either outlet."""

    def __init__(self, doors: list[Address], every_s: float = 0.05) -> None:
        self.answers = 0
        self.faults: list[str] = []
        self._doors, self._every_s = doors, every_s
        self._paused: set[Address] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(part,), daemon=True) for part in range(2)]

    def __enter__(self) -> Applications:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    @contextmanager
    def without(self, door: Address) -> Iterator[None]:
        """Nobody connects there in this block, for its edge is ended on purpose."""
        self._paused.add(door)
        # What is being asked there is answered first.
        before = self.answers
        until(lambda: self.answers > before + 2 * len(self._threads), 30)
        yield
        self._paused.discard(door)

    def _run(self, part: int) -> None:
        for door in itertools.cycle(self._doors[part::2]):
            if self._stop.wait(self._every_s):
                return
            if door in self._paused:
                continue
            try:
                with socket.create_connection(door, timeout=20) as connection:
                    said = receive(connection, 4)
                    connection.sendall(b"question")
                    answer = receive(connection, 8)
                if said not in (b"new ", b"old ") or answer != b"question":
                    raise OSError(f"{said!r} {answer!r}")
            except OSError as error:
                self.faults.append(f"{door}: {error}")
            else:
                self.answers += 1


@contextmanager
def shared_fleet(folder: Path, edges: int) -> Iterator[SharedFleet]:
    """All is up, and the cut-over has not begun."""
    with ExitStack() as stack:
        made = SharedFleet(folder, stack, edges)
        made.stage.start(*made.relays)
        # A few at a time: each start takes a second of a processor.
        for first in range(0, len(made.edges) + 1, 4):
            made.stage.start(*[made.kent, *made.edges][first : first + 4])
        made.stage.await_well(seconds=120)
        until(lambda: all(made.lives_at(node) for node in made.nodes), 60)
        yield made
