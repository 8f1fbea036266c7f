"""The realm of a cut-over: three forces, two relays, and an old network, each node a process of `pcgrelay run`.

                 +-- cjx, the old network, plain TCP -----------+
    met-1 -------+                                              +--- Kent's database
                 +-- relay-2 -------- relay-1 -------- kent-1 --+
    surrey-1 ----+

The old network is another address of the loopback device, 127.0.0.2. The Met comes over it and is to move; Surrey has
moved before, and keeps the old network as its last resort.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from pcgrelay.ca import Authority
from pcgrelay.demo.cutover.applications import Address
from pcgrelay.demo.cutover.database import SERVICE
from pcgrelay.demo.node import Node
from pcgrelay.demo.nodes import HUB, REALM, RELAYS, Nodes, free_ports, link_table
from pcgrelay.errors import RunError, UsageProblem
from pcgrelay.files import reason_of, write_replacing

KENT = "kent.police.example"
MET = "met.police.example"
SURREY = "surrey.police.example"
FULL_SERVICE = f"{SERVICE}@{KENT}"
OLD = "cjx"
NEW = "gateway"
DEADLINE = timedelta(days=90)
SUPPORTED = timedelta(days=180)  # beyond the days of quiet after the deadline
ADDRESSES = {OLD: "127.0.0.2", NEW: "127.0.0.1"}


@dataclass
class MovingRealm(Nodes):
    """Its files and processes; `met`, `surrey` and `kent` are there after `prepare`."""

    doors: dict[str, Address] = field(default_factory=dict)  # where applications connect, by organisation
    database_port: int = 0  # as Kent's edge reaches it
    target_port: int = 0  # to which Kent's edge leads
    closed_port: int = 0  # on which nothing listens

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    @property
    def met(self) -> Node:
        return self.node("met-1")

    @property
    def surrey(self) -> Node:
        return self.node("surrey-1")

    @property
    def kent(self) -> Node:
        return self.node("kent-1")

    def prepare(self, ports: dict[str, int], door: Address | None) -> None:
        """Write certificates and configurations; ports are the database's, door is where the Met's edge listens."""
        first, second, met, surrey, self.closed_port = free_ports(5)
        relays = [f"127.0.0.1:{port}" for port in (first, second)]
        self.doors = {MET: door or ("127.0.0.1", met), SURREY: ("127.0.0.1", surrey)}
        self.database_port = self.target_port = ports[NEW]
        supported_until = datetime.now(UTC).date() + SUPPORTED
        authority = Authority.create(self.folder / "ca", REALM)
        for name, organisation in (
            *((name, HUB) for name in RELAYS),
            ("kent-1", KENT),
            ("met-1", MET),
            ("surrey-1", SURREY),
        ):
            authority.issue(organisation, name, self.folder)
        for number, name in enumerate(RELAYS):
            tables = _relay_tables(relays[number]) + (link_table(relays[0], 0) if number else "")
            self.write(name, HUB, "relay", tables)
        self.write("kent-1", KENT, "edge", link_table(relays[0], 0) + _export(self.target_port))
        old = f"{ADDRESSES[OLD]}:{ports[OLD]}"
        for name, organisation, outlet in (("met-1", MET, OLD), ("surrey-1", SURREY, NEW)):
            state = self.folder / f"{name}-state"
            state.mkdir(0o700)
            tables = link_table(relays[1], 1) + _import(self.doors[organisation], outlet, old, supported_until)
            self.write(name, organisation, "edge", tables, f'state = "{state}"\n')

    def lead_kent_to(self, port: int) -> None:
        """Change the target in Kent's file; the node takes it at its next reload."""
        text = self.kent.config.read_text()
        changed = text.replace(f'target = "127.0.0.1:{self.target_port}"', f'target = "127.0.0.1:{port}"')
        write_replacing(self.kent.config, changed.encode())
        self.target_port = port


def checked_door(text: str) -> Address:
    """The address of --listen. UsageProblem: it is none of the loopback device. RunError: somebody listens there."""
    host, _, port = text.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= 65_535):
        raise UsageProblem(f"--listen: {text!r} is no address with a port; write for example 127.0.0.1:15432.")
    parts = host.split(".")
    if len(parts) != 4 or parts[0] != "127" or not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageProblem(
            f"--listen: {host!r} is not of the loopback device, and the demonstration listens nowhere else; write for "
            "example 127.0.0.1:15432."
        )
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OSError as error:
            raise RunError(
                f"--listen: {text} cannot be listened on ({reason_of(error)}); name another port, or leave --listen "
                "out, and a free one is taken."
            ) from None
    return host, int(port)


def deadline() -> date:
    """The last day of the plan."""
    return datetime.now(UTC).date() + DEADLINE


def _relay_tables(address: str) -> str:
    return f"""
[policy]
members = ["*.police.example", "{HUB}"]

[[listen]]
address = "{address}"
bearer = "loopback"
"""


def _export(port: int) -> str:
    return f"""
[[export]]
service = "{SERVICE}"
target = "127.0.0.1:{port}"
allow = ["{MET}", "{SURREY}"]
marking = "OFFICIAL"
"""


def _import(door: Address, outlet: str, old: str, supported_until: date) -> str:
    return f"""
[[bearer]]
name = "{OLD}"
marking = "OFFICIAL"
supported_until = {supported_until}

[[import]]
service = "{FULL_SERVICE}"
listen = "{door[0]}:{door[1]}"
outlet = "{outlet}"

[[direct]]
service = "{FULL_SERVICE}"
name = "{OLD}"
address = "{old}"
bearer = "{OLD}"
"""
