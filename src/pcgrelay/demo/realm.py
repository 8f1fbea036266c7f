"""The realm of the demonstration: two relays, three organisations, and every node a process of `pcgrelay run`.

    kent-1 -------- relay-1 -------- relay-2 -------- met-1
                       |
                  probation-1

Each organisation exports one service and imports those of the others, so four of the six paths cross both relays.
"""

from __future__ import annotations

import random
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pcgrelay.admin.condition import troubles
from pcgrelay.ca import Authority
from pcgrelay.demo.node import READY_S, STOP_S, Node
from pcgrelay.errors import PcgrelayError, RunError

REALM = "police.example"
HUB = "hub.example"
LINKED_S = 15.0
POLL_S = 0.05
WATCH_S = 0.5


@dataclass(frozen=True)
class Member:
    """An organisation with its edge, its export, and the relay that it is linked to."""

    organisation: str
    node: str
    service: str
    relay: int

    @property
    def title(self) -> str:
        return self.organisation.partition(".")[0]

    @property
    def service_name(self) -> str:
        return f"{self.service}@{self.organisation}"


MEMBERS = (
    Member("kent.police.example", "kent-1", "custody", 0),
    Member("met.police.example", "met-1", "intel", 1),
    Member("probation.justice.example", "probation-1", "cases", 0),
)
RELAYS = ("relay-1", "relay-2")


# With --keep: the user's own PostgreSQL, if there is one. It is not touched otherwise.
DATABASE = "127.0.0.1:5432"


@dataclass(frozen=True)
class Way:
    """One import: who reaches which service, through which relays, and where applications connect."""

    caller: Member
    owner: Member
    address: tuple[str, int]

    @property
    def relays(self) -> tuple[str, ...]:
        first, last = self.caller.relay, self.owner.relay
        return (RELAYS[first],) if first == last else (RELAYS[first], RELAYS[last])

    @property
    def listen(self) -> str:
        return f"{self.address[0]}:{self.address[1]}"


@dataclass
class Realm:
    """All files and processes, in one folder."""

    folder: Path
    ways: list[Way] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    database_port: int | None = None

    @property
    def relays(self) -> list[Node]:
        return [node for node in self.nodes if node.is_relay]

    @property
    def edges(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_relay]

    def edge_of(self, member: Member) -> Node:
        return next(node for node in self.nodes if node.name == member.node)

    def prepare(self, targets: dict[str, str], *, with_database: bool) -> None:
        """Write certificates and configurations; targets has the address behind each organisation's service.

        with_database: the first organisation also exports DATABASE, and the second imports it.
        """
        pairs = [(caller, owner) for caller in MEMBERS for owner in MEMBERS if caller is not owner]
        ports = free_ports(len(RELAYS) + len(pairs) + 1)
        relay_addresses = [f"127.0.0.1:{ports.pop()}" for _ in RELAYS]
        self.ways = [Way(caller, owner, ("127.0.0.1", ports.pop())) for caller, owner in pairs]
        authority = Authority.create(self.folder / "ca", REALM)
        for number, name in enumerate(RELAYS):
            authority.issue(HUB, name, self.folder)
            self._write(name, HUB, "relay", _relay_tables(number, relay_addresses))
        for member in MEMBERS:
            authority.issue(member.organisation, member.node, self.folder)
            ways = [way for way in self.ways if way.caller is member]
            tables = _edge_tables(member, relay_addresses[member.relay], targets[member.organisation], ways)
            if with_database and member is MEMBERS[0]:
                # A database that the user has not started must not keep the realm from starting.
                tables += _export("database", DATABASE, [MEMBERS[1]]) + 'probe = "none"\n'
            if with_database and member is MEMBERS[1]:
                self.database_port = ports.pop()
                tables += _import(f"database@{MEMBERS[0].organisation}", f"127.0.0.1:{self.database_port}")
            self._write(member.node, member.organisation, "edge", tables)

    def launch(self) -> None:
        """Start every node."""
        for node in self.nodes:
            node.start()

    def wait(self) -> None:
        """Wait until each node is linked and each import has a route. RunError: LINKED_S have passed."""
        deadline = time.monotonic() + READY_S
        for node in self.nodes:
            node.wait_ready(deadline)
        deadline = time.monotonic() + LINKED_S
        for node in self.nodes:
            while found := self._left(node):
                node.refuse_dead()
                if time.monotonic() > deadline:
                    raise RunError(f"{node.name} was not linked within {LINKED_S:g} s: {found[0]}")
                time.sleep(POLL_S)

    def watch(self) -> None:
        """Watch the nodes for ever. RunError: one has ended."""
        while True:
            self.refuse_dead()
            time.sleep(WATCH_S)

    def stop(self) -> None:
        """End every process that still runs; edges first, because a relay waits for the paths over it."""
        for group in (self.edges, self.relays):
            running = [node.process for node in group if node.process is not None and node.process.poll() is None]
            for process in running:
                process.terminate()
            deadline = time.monotonic() + STOP_S
            for process in running:
                try:
                    process.wait(max(0.1, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        for node in self.nodes:
            if node.process is not None and node.process.stdout is not None:
                node.process.stdout.close()

    def refuse_dead(self) -> None:
        for node in self.nodes:
            node.refuse_dead()

    def _left(self, node: Node) -> list[str]:
        """Return what is still missing."""
        try:
            return [trouble.sentence for trouble in troubles(node.status())]
        except PcgrelayError as error:
            return [str(error)]

    def _write(self, name: str, organisation: str, role: str, tables: str) -> None:
        node = Node(name, role == "relay", self.folder)
        head = _HEAD.format(name=name, organisation=organisation, realm=REALM, role=role, admin=node.admin)
        node.config.write_text(head + tables)
        self.nodes.append(node)


_HEAD = """\
[node]
name = "{name}"
organisation = "{organisation}"
realm = "{realm}"
role = "{role}"
memory = "64MiB"
admin = "{admin}"

[identity]
certificate = "{name}.pem"
key = "{name}.key"
trust = "realm-ca.pem"
crl = "ca/realm.crl"
"""


def _relay_tables(number: int, addresses: list[str]) -> str:
    tables = f"""
[policy]
members = ["*.police.example", "*.justice.example", "{HUB}"]

[[listen]]
address = "{addresses[number]}"
bearer = "loopback"
"""
    return tables if number == 0 else tables + _link(addresses[0], 0)


def _link(address: str, relay: int) -> str:
    return f"""
[[link]]
peer = "{RELAYS[relay]}.{HUB}"
address = "{address}"
bearer = "loopback"
"""


def _edge_tables(member: Member, relay_address: str, target: str, ways: list[Way]) -> str:
    callers = [other for other in MEMBERS if other is not member]
    imports = (_import(way.owner.service_name, way.listen) for way in ways)
    return _link(relay_address, member.relay) + _export(member.service, target, callers) + "".join(imports)


def _export(service: str, target: str, callers: list[Member]) -> str:
    allowed = ", ".join(f'"{caller.organisation}"' for caller in callers)
    return f"""
[[export]]
service = "{service}"
target = "{target}"
allow = [{allowed}]
marking = "OFFICIAL-SENSITIVE"
"""


def _import(service: str, listen: str) -> str:
    return f"""
[[import]]
service = "{service}"
listen = "{listen}"
"""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses, below the kernel's range for outgoing connections. RunError: too few are free."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = list(range(10_000, max(lowest, 20_000)))
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
    if len(found) < count:
        raise RunError(f"Of {count} ports that the demonstration needs, only {len(found)} are free on 127.0.0.1.")
    return found
