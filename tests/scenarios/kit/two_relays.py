"""The Met and Kent behind two relays beside each other, in a network of their own, with a port for each leg."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scenarios.kit.bad_line import Middleman
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.network_namespace import Network, own_network
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Node, Stage
from tests.support.ports import free_port


@dataclass
class Pair:
    """The Met and Kent behind two relays beside each other; each edge has a port of its own at each relay."""

    network: Network
    stage: Stage
    met: Node
    kent: Node
    relays: list[Node]
    ports: dict[str, dict[str, int]]  # by relay and edge
    door: Address
    target: Address
    interval_ms: int = 500
    line: Middleman | None = None

    def used(self) -> Node:
        """The relay that the streams lead through."""
        via = self.met.service("echo").routes[0].via
        return next(relay for relay in self.relays if relay.dotted == via)

    def unused(self) -> Node:
        """The other one."""
        used = self.used()
        return next(relay for relay in self.relays if relay is not used)

    def ports_of(self, relay: Node) -> tuple[int, int]:
        ports = self.ports[relay.name]
        return ports["met-1"], ports["kent-1"]


@contextmanager
def paired(folder: Path, *, lanes: int = 1, bad_line: bool = False, **policy: Any) -> Iterator[Pair]:
    """All is up. bad_line: the Met reaches the relays over a line that the test can make bad."""
    with own_network() as network, Stage(folder) as stage, ExitStack() as stack:
        names = ("relay-1", "relay-2")
        ports = {name: {"met-1": free_port(), "kent-1": free_port()} for name in names}
        dialled = {edge: {name: ports[name][edge] for name in names} for edge in ("met-1", "kent-1")}
        line = None
        if bad_line:
            dialled["met-1"] = {name: free_port() for name in names}
            pairs = [(dialled["met-1"][name], ports[name]["met-1"]) for name in names]
            line = stack.enter_context(Middleman.between(*pairs))
        door, target = (HOST, free_port()), (HOST, free_port())
        common = {"policy": dict(policy), "node_table": {"lanes": lanes, "workers": lanes}}
        relays = [
            stage.relay(name, listens=[host_port(port) for port in ports[name].values()], **copied(common))
            for name in names
        ]
        links = {
            edge: [{"peer": f"{name}.{HUB}", "address": host_port(port)} for name, port in ways.items()]
            for edge, ways in dialled.items()
        }
        export = {"service": "echo", "target": host_port(target[1]), "allow": [MET]}
        kent = stage.node(KENT, "kent-1", links=links["kent-1"], exports=[export], **copied(common))
        entry = {"service": f"echo@{KENT}", "listen": host_port(door[1])}
        met = stage.node(MET, "met-1", links=links["met-1"], imports=[entry], **copied(common))
        stage.start()
        stage.await_well()
        interval_ms = policy.get("probe_interval_ms", 500)
        yield Pair(network, stage, met, kent, relays, ports, door, target, interval_ms, line)


def copied(tables: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the writer of a configuration may take apart."""
    return {name: dict(table) for name, table in tables.items()}
