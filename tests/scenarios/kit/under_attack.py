"""Two good edges that talk through a relay, and ports at which malice may try the relay and one of the edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.scenarios.kit.echo_witness import Echo, Witness, host_port
from tests.scenarios.kit.malicious_member import EVIL
from tests.scenarios.kit.nodes import HUB, KENT, MET, Address, Node, Stage
from tests.support.ports import free_port

# Organisations of members that use up what is theirs, so that another test finds its own whole.
RESETS, SINKS = "resets.evil.example", "sinks.evil.example"
# Deadlines are short, so that what only a deadline ends is seen to end.
POLICY: dict[str, Any] = {"handshake_deadline_ms": 3_000, "half_open_total": 400, "half_open_per_source": 100}


@dataclass(frozen=True)
class Battle:
    """Kent exports `echo` to the Met and `gift` to the evil organisation, and imports its `trap`."""

    stage: Stage
    relay: Node
    kent: Node
    met: Node
    ports: dict[str, int]  # where the relay and Kent listen, by the first part of the node's name
    trap: Address  # where applications at Kent reach the evil organisation's service
    echo: Echo
    witness: Witness

    def node(self, name: str) -> Node:
        return {"relay": self.relay, "kent": self.kent, "met": self.met}[name]


@contextmanager
def battle_begun(
    folder: Path,
    *,
    policy: dict[str, Any] | None = None,
    revoked: Sequence[tuple[str, str]] = (),
    access: bool = True,
    exports: Sequence[dict[str, Any]] = (),
) -> Iterator[Battle]:
    """Start it all. revoked: nodes that are issued to and revoked before anybody reads the list.

    Without access Kent writes no line for each stream.
    """
    ports = {"relay": free_port(), "kent": free_port()}
    target, door, trap = ("127.0.0.1", free_port()), ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
    with Stage(folder) as stage:
        for organisation, name in revoked:
            stage.pki.issue(organisation, name, revoked=True)
        common: dict[str, Any] = {"node_table": {"memory": "64MiB", "lanes": 1}}
        to_relay = [{"peer": f"relay-1.{HUB}", "address": host_port(ports["relay"])}]
        relay = stage.relay("relay-1", listens=[host_port(ports["relay"])], policy=_policy(policy), **common)
        kent = stage.node(
            KENT,
            "kent-1",
            listens=[host_port(ports["kent"])],
            links=to_relay,
            exports=[
                {"service": "echo", "target": host_port(target[1]), "allow": [MET]},
                {"service": "gift", "target": host_port(target[1]), "allow": [EVIL, RESETS, SINKS]},
                *exports,
            ],
            imports=[{"service": f"trap@{EVIL}", "listen": host_port(trap[1])}],
            log={"access": access},
            policy=_policy(policy),
            node_table={"memory": "64MiB", "lanes": 1},
        )
        met = stage.node(
            MET,
            "met-1",
            links=to_relay,
            imports=[{"service": f"echo@{KENT}", "listen": host_port(door[1])}],
            node_table={"memory": "64MiB", "lanes": 1},
        )
        # The server is there first: a target that does not answer is not offered.
        with Echo(target) as echo:
            stage.start()
            stage.await_well(met)
            with Witness(door) as witness:
                yield Battle(stage, relay, kent, met, ports, trap, echo, witness)


def _policy(changes: dict[str, Any] | None) -> dict[str, Any]:
    return {**POLICY, **(changes or {})}
