"""The realm of the demonstration: two relays, three organisations, and every node a process of `pcgrelay run`.

    kent-1 -------- relay-1 -------- relay-2 -------- met-1
                       |
                  probation-1

Each organisation exports one service and imports those of the others, so four of the six paths cross both relays.
"""

from __future__ import annotations

import os
import random
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from pcgrelay.admin.client import read_status
from pcgrelay.admin.status import Status, troubles
from pcgrelay.ca import Authority
from pcgrelay.errors import PcgrelayError, RunError

REALM = "police.example"
HUB = "hub.example"
READY_S = 20.0
LINKED_S = 15.0
STOP_S = 5.0
POLL_S = 0.05


@dataclass(frozen=True)
class Member:
    """An organisation with its edge, what it exports, and the relay that it is linked to."""

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
class Node:
    """One process."""

    name: str
    is_relay: bool
    folder: Path
    process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def config(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def admin(self) -> Path:
        return self.folder / f"{self.name}.sock"

    def start(self) -> None:
        """Start it, in a process group of its own, so that Ctrl-C is ours to pass on."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pcgrelay.cli", "run", "-c", os.fspath(self.config), "--drain", "1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                process_group=0,
            )

    def wait_ready(self, deadline: float) -> None:
        """Wait for the line that says so."""
        assert self.process is not None
        assert self.process.stdout is not None
        select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if self.process.poll() is None and select.select([self.process.stdout], [], [], 0)[0]:
            if self.process.stdout.readline():
                return
            self.process.wait(STOP_S)
        self.refuse_dead()
        raise RunError(f"{self.name} was not ready within {READY_S:g} s; its last line was: {self.last_line()}")

    def refuse_dead(self) -> None:
        if self.process is not None and self.process.poll() is not None:
            raise RunError(f"{self.name} ended with exit code {self.process.returncode}; it said: {self.last_line()}")

    def status(self) -> Status:
        return read_status(self.admin)

    def last_line(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), "nothing")

    def sessions(self) -> dict[str, tuple[str, str]]:
        """Suite and group of each end-to-end session by the organisation of its peer, as the node's own log has it."""
        found = {}
        for line in self.log.read_text().splitlines():
            with suppress(msgspec.DecodeError):
                event = msgspec.json.decode(line)
                if event.get("event") == "session.up":
                    found[event["peer"].partition(".")[2]] = (event["suite"], event["group"])
        return found


@dataclass
class Realm:
    """All files and processes, in one folder."""

    folder: Path
    ways: list[Way] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)

    @property
    def relays(self) -> list[Node]:
        return [node for node in self.nodes if node.is_relay]

    @property
    def edges(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_relay]

    def edge_of(self, member: Member) -> Node:
        return next(node for node in self.nodes if node.name == member.node)

    def prepare(self, targets: dict[str, str]) -> None:
        """Write certificates and configurations; targets has the address behind each organisation's service."""
        pairs = [(caller, owner) for caller in MEMBERS for owner in MEMBERS if caller is not owner]
        ports = free_ports(len(RELAYS) + len(pairs))
        relay_addresses = [f"127.0.0.1:{port}" for port in ports[: len(RELAYS)]]
        imports = zip(pairs, ports[len(RELAYS) :], strict=True)
        self.ways = [Way(caller, owner, ("127.0.0.1", port)) for (caller, owner), port in imports]
        authority = Authority.create(self.folder / "ca", REALM)
        for number, name in enumerate(RELAYS):
            authority.issue(HUB, name, self.folder)
            self._write(name, HUB, "relay", _relay_tables(number, relay_addresses))
        for member in MEMBERS:
            authority.issue(member.organisation, member.node, self.folder)
            ways = [way for way in self.ways if way.caller is member]
            tables = _edge_tables(member, relay_addresses[member.relay], targets[member.organisation], ways)
            self._write(member.node, member.organisation, "edge", tables)

    def start(self) -> None:
        """Start every node and wait until each is linked and each import has a way."""
        for node in self.nodes:
            node.start()
        deadline = time.monotonic() + READY_S
        for node in self.nodes:
            node.wait_ready(deadline)
        self._wait("linked", lambda node: troubles(node.status()))

    def stop(self) -> None:
        """End every process that still runs: edges first, for a relay waits for the paths over it."""
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

    def _wait(self, what: str, left: Callable[[Node], list[str]]) -> None:
        deadline = time.monotonic() + LINKED_S
        for node in self.nodes:
            while True:
                node.refuse_dead()
                try:
                    found = left(node)
                except PcgrelayError as error:
                    found = [str(error)]
                if not found:
                    break
                if time.monotonic() > deadline:
                    raise RunError(f"{node.name} was not {what} within {LINKED_S:g} s: {found[0]}")
                time.sleep(POLL_S)

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
    callers = ", ".join(f'"{other.organisation}"' for other in MEMBERS if other is not member)
    export = f"""
[[export]]
service = "{member.service}"
target = "{target}"
allow = [{callers}]
marking = "OFFICIAL-SENSITIVE"
"""
    imports = "".join(f'\n[[import]]\nservice = "{way.owner.service_name}"\nlisten = "{way.listen}"\n' for way in ways)
    return _link(relay_address, member.relay) + export + imports


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, below the range from which the kernel gives connections theirs."""
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
