"""Two edges and two relays beside each other, whose configurations and certificates change while applications talk."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pcgrelay.admin.answers import EXPLAIN_PATH, RELOAD_PATH, ReloadAnswer
from pcgrelay.admin.client import ask
from tests.scenarios.kit.echo_witness import Echo, Witness, host_port
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, Address, Node, Stage
from tests.support.ports import free_port
from tests.support.waiting import until


class Scene:
    """Kent exports `echo` to the Met, over all relays. Tables of a node are changed one at a time."""

    def __init__(self, stage: Stage, relays: int) -> None:
        self.stage = stage
        self.target: Address = (HOST, free_port())
        self.door: Address = (HOST, free_port())
        ports = [free_port() for _ in range(relays)]
        links = [{"peer": f"relay-{n}.{HUB}", "address": host_port(port)} for n, port in enumerate(ports, 1)]
        self._tables: dict[str, dict[str, Any]] = {}
        self.relays = [
            self._node(HUB, f"relay-{number}", role="relay", listens=[host_port(port)])
            for number, port in enumerate(ports, 1)
        ]
        self.kent = self._node(KENT, "kent-1", links=links, exports=[self.export("echo")])
        self.met = self._node(MET, "met-1", links=links, imports=[self.entry("echo", self.door)])

    def export(self, service: str, **keys: Any) -> dict[str, Any]:
        return {"service": service, "target": host_port(self.target[1]), "allow": [MET], **keys}

    def entry(self, service: str, door: Address) -> dict[str, Any]:
        return {"service": f"{service}@{KENT}", "listen": host_port(door[1])}

    def _node(self, organisation: str, name: str, **tables: Any) -> Node:
        self._tables[f"{name}.{organisation}"] = {"node_table": {"lanes": 1}, **tables}
        return self.stage.node(organisation, name, **_copied(self._tables[f"{name}.{organisation}"]))

    def change(self, node: Node, **tables: Any) -> None:
        """Write a node's configuration again, with these tables in place of those that were there."""
        self._tables[node.dotted].update(tables)
        self.stage.node(node.organisation, node.name, **_copied(self._tables[node.dotted]))

    def tables(self, node: Node) -> dict[str, Any]:
        """The tables of a node's configuration, as they were written last."""
        return self._tables[node.dotted]

    @contextmanager
    def restored(self) -> Iterator[Scene]:
        """What a test changes in files is undone at the end of the block, and in the nodes; who was stopped is back."""
        before = {name: _copied(tables) for name, tables in self._tables.items()}
        yield self
        self._tables = before
        for node in self.nodes:
            self.change(node)
            if node.running:
                answer = reload(node)
                assert answer.ok, answer
            else:
                node.start()
        self.stage.await_well()
        until(lambda: not any(node.status().streams.active for node in (self.met, self.kent)), 20, "no stream is left")

    def renew(self, node: Node) -> None:
        """Put a new key and certificate in the place of the old ones, as a renewal does it."""
        folder = self.stage.folder / node.dotted
        fresh = self.stage.pki.issue(node.organisation, node.name, into=f"fresh-{os.urandom(4).hex()}")
        os.replace(fresh.key, folder / fresh.key.name)
        os.replace(fresh.certificate, folder / fresh.certificate.name)

    def relay_used(self) -> Node:
        """The relay that the Met's session leads through."""
        via = {route.via for route in self.met.service("echo").routes}
        return next(relay for relay in self.relays if relay.dotted in via)

    @property
    def nodes(self) -> list[Node]:
        return [*self.relays, self.kent, self.met]


def _copied(tables: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(table) if isinstance(table, dict) else table for name, table in tables.items()}


@contextmanager
def scene(folder: Path, relays: int = 1, *, lists_travel: bool = True) -> Iterator[Scene]:
    """All is up, and the target echoes. lists_travel: whether revocation lists have numbers."""
    with Stage(folder) as stage:
        made = Scene(stage, relays)
        if not lists_travel:
            stage.pki.unnumber()
        stage.start()
        stage.await_well()
        with Echo(made.target):
            yield made


@contextmanager
def applications(door: Address, count: int) -> Iterator[list[Witness]]:
    """So many good applications at an import; at the end none of them may have noticed anything."""
    made = [Witness(door, seed) for seed in range(count)]
    entered: list[Witness] = []
    try:
        for witness in made:
            entered.append(witness.__enter__())
        yield made
        for witness in made:
            witness.check()
    finally:
        for witness in entered:
            witness.__exit__()


def is_open(address: Address) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as sock:
        return sock.connect_ex(address) == 0


def reload(node: Node) -> ReloadAnswer:
    return ask(node.admin, "POST", RELOAD_PATH, ReloadAnswer, 30.0)


def explained(node: Node, subject: str) -> dict[str, Any]:
    """What `explain` is answered. The command itself takes longer to start than some of what is looked for lasts."""
    code, text = node.asked(f"{EXPLAIN_PATH}?subject={subject}")
    assert code == 200, text
    answer: dict[str, Any] = json.loads(text)
    return answer


def reload_by_signal(node: Node) -> None:
    os.kill(node.pid, signal.SIGHUP)


def command(
    *arguments: str | Path, seconds: float = 60.0, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of pcgrelay to its end."""
    return subprocess.run(
        [PCGRELAY, *arguments], capture_output=True, text=True, timeout=seconds, check=False, env=environment
    )
