"""A cut-over between two direct outlets of an edge with the fake core: what is published, and what tests count."""

from __future__ import annotations

import asyncio
import io
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.clock import SystemClock
from pcgrelay.cutover.phases import Event, Phase
from pcgrelay.cutover.requests import Request
from pcgrelay.daemon.run import make_node
from pcgrelay.gateway.actor import Actor
from pcgrelay.gateway.cutover import Cutover
from pcgrelay.gateway.cutover_start import Started, start
from pcgrelay.gateway.cutovers import Requested
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.writer import Log
from pcgrelay.services.outlets import DirectOutlet
from pcgrelay.state.folder import StateFolder
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, MET, Nodes, Running
from tests.support.ports import free_port

CUSTODY = f"custody@{KENT}"
OPERATOR = Actor(uid=0, by="night shift", reason="INC-77")
OLD, NEW = 1, 2  # indices of cjx and psnp

PLAN = f"""\
[cutover]
service = "{CUSTODY}"
from = "cjx"
to = "psnp"
back = ["cjx"]
steps = [1, 50, 100]
soak = "1s"
deadline = 2150-01-01

[gate]
streams = 0
failures = "100 %"
setup = "1000 %"
answer = "1000 %"

[shadow]
pace = "off"
"""
LONG = PLAN.replace('soak = "1s"', 'soak = "1h"')
WITH_SHADOWS = PLAN.replace('pace = "off"', 'pace = "1 / h"')
# Buckets of about 1 ms.
TIMES = {64: 500}


class CutRunning(Running):
    """An edge whose service is cut over from cjx to psnp."""

    @property
    def row(self) -> Any:
        (found,) = [row[6] for row in self.core.published["imports"]]
        return found

    @property
    def share(self) -> float:
        """Of psnp, in percent, as the core has it."""
        slots = self.row[5]
        return float(100 * slots.count(NEW) / len(slots))

    @property
    def cutover(self) -> Cutover:
        found = self.edge.cutovers.get(CUSTODY)
        assert found is not None
        return found

    @property
    def phase(self) -> Phase:
        return self.cutover.phase

    def count(self, index: int, kind: int = 0, **figures: Any) -> None:
        """Have the meter of an outlet say so much more; kind 1: of shadows."""
        held = self.core.meters[self.row[0]][index][kind]
        for name, value in figures.items():
            if isinstance(value, dict):
                held[name] = {key: held.get(name, {}).get(key, 0) + more for key, more in value.items()}
            else:
                held[name] = held.get(name, 0) + value

    def good(self, count: int = 500) -> None:
        """So many set-ups of both outlets were good."""
        for index in (OLD, NEW):
            self.count(index, tried=count, up=count, setup_us={64: count}, answer_us={64: count})

    def fail(self, index: int, client: int = 1, *, moved: int = 1) -> None:
        """A set-up of an application failed on an outlet, and was led on."""
        self.count(index, tried=1, refused=1, moved=moved)
        client_bytes = client.to_bytes(16)
        self.core.emit(fake_core.EVENT_SETUP_ENDED, self.imports[0], index, "refused", "refused", 0, 0, 0,
                      client_bytes, 0, 900)  # fmt: skip

    def look(self) -> None:
        self.edge.cutovers.look_all()

    async def start_plan(self, text: str = PLAN, *, again: bool = False) -> Started:
        return await start(self.node, self.edge, text, Path("custody.plan.toml"), OPERATOR, again=again)

    async def ask(self, event: Event) -> Requested:
        return await self.edge.cutovers.request(self.cutover, Request(event, reason="INC-77"), OPERATOR)

    async def reload(self, path: Path) -> None:
        """Take a configuration, as the command does it; PcgrelayError: it is refused, and nothing has changed."""
        fresh = LocalIdentity(config.load(path), clock=self.node.clock)
        prepared = await self.node.prepare(fresh.config)
        prepared.listen()
        self.node.take(fresh, prepared)
        prepared.close()
        await asyncio.sleep(0)

    @property
    def imports(self) -> list[int]:
        return [row[0] for row in self.core.published["imports"]]


PORTS = {"cjx": 5432, "psnp": 5433}


def written(
    nodes: Nodes,
    *names: str,
    state: bool = True,
    supported_until: date | None = None,
    node: str = "met-1",
    **entry: object,
) -> Path:
    """Write the configuration of such an edge, with these direct outlets. entry: keys of its import; none: no import.

    supported_until: of the old network. node: which of the edges of its organisation.
    """
    folder = state_folder(nodes, node)
    folder.mkdir(mode=0o700, exist_ok=True)
    keys = {"service": CUSTODY, "listen": f"127.0.0.1:{free_port()}", "outlet": "cjx", **entry}
    ends = {} if supported_until is None else {"cjx": {"supported_until": supported_until}}
    return nodes.write(
        MET,
        node,
        node_table={"state": str(folder)} if state else {},
        links=[{"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}],
        imports=[keys] if names else [],
        directs=[
            {"service": CUSTODY, "name": name, "address": f"127.0.0.9:{PORTS.get(name, 5434)}", "bearer": name,
             "probe": "none"}
            for name in names
        ],
        bearers=[{"name": name, **ends.get(name, {})} for name in dict.fromkeys((*PORTS, *names))],
    )  # fmt: skip


def state_folder(nodes: Nodes, node: str = "met-1") -> Path:
    return nodes.folder / ("state" if node == "met-1" else f"state-{node}")


async def cut_running(
    nodes: Nodes, *, state: bool = True, third: str = "", supported_until: date | None = None, name: str = "met-1"
) -> CutRunning:
    """Such an edge, without a neighbour. third: one more direct outlet."""
    outlets = filter(None, ("cjx", "psnp", third))
    path = written(nodes, *outlets, state=state, supported_until=supported_until, node=name)
    sink = io.StringIO()
    node = make_node(config.load(path), fake_core, Log("debug", sink))
    running = CutRunning(node, sink)
    nodes.running.append(running)
    if state:
        node.state = StateFolder.take(state_folder(nodes, name))
    await node.start()
    await asyncio.sleep(0)
    return running


async def stopped(running: CutRunning) -> None:
    await running.node.stop()
    if running.node.state is not None:
        running.node.state.close()


class Time:
    """What the node's clocks are ahead of the machine's."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.wall, self.passed = timedelta(), timedelta()
        wall, monotonic_ms = SystemClock.wall, SystemClock.monotonic_ms
        patch.setattr(SystemClock, "wall", lambda clock: wall(clock) + self.wall + self.passed)
        patch.setattr(
            SystemClock, "monotonic_ms", lambda clock: monotonic_ms(clock) + round(self.passed.total_seconds() * 1_000)
        )

    def jump(self, by: timedelta) -> None:
        """The wall clock is set."""
        self.wall += by

    def passes(self, seconds: float) -> None:
        self.passed += timedelta(seconds=seconds)


def direct(met: CutRunning, name: str) -> DirectOutlet:
    outlets = met.cutover.outlets
    assert outlets is not None
    return outlets.directs[name]


def lead_nowhere(met: CutRunning, *names: str) -> None:
    """These outlets are away from now on."""
    for name in names:
        direct(met, name).target.addresses = ()
    met.edge.tables.publisher.attempt()


async def looks(met: CutRunning, time: Time, count: int = 12, seconds: float = 1.0) -> None:
    """So many looks, so many seconds apart."""
    for _ in range(count):
        time.passes(seconds)
        met.look()
        await asyncio.sleep(0)
