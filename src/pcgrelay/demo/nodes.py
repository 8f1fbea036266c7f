"""The nodes of a demonstration: their files in one folder, and each a process of `pcgrelay run`."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pcgrelay.admin.condition import troubles
from pcgrelay.demo.node import READY_S, STOP_S, Node
from pcgrelay.errors import PcgrelayError, RunError, StatusProblem
from pcgrelay.kernel import read_kernel

REALM = "police.example"
HUB = "hub.example"
RELAYS = ("relay-1", "relay-2")
LINKED_S = 60.0
POLL_S = 0.05
WATCH_S = 0.5


@dataclass
class Nodes:
    """All files and processes, in one folder."""

    folder: Path
    nodes: list[Node] = field(default_factory=list)
    tables: str = ""  # that all configurations have

    @property
    def relays(self) -> list[Node]:
        return [node for node in self.nodes if node.is_relay]

    @property
    def edges(self) -> list[Node]:
        return [node for node in self.nodes if not node.is_relay]

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
        """End every process, also those that took the place of another in an upgrade.

        Edges first, because a relay waits for the paths over it.
        """
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
        if any(node.process is not None and node.process.returncode == 0 for node in self.nodes):
            end_all_of(self.folder)

    def refuse_dead(self) -> None:
        """RunError: a node has ended, and no other process has taken its place as in an upgrade."""
        for node in self.nodes:
            if node.process is not None and node.process.poll() == 0:
                with suppress(StatusProblem):
                    node.status()
                    continue
            node.refuse_dead()

    def write(self, name: str, organisation: str, role: str, tables: str, more: str = "") -> None:
        """Write a node's configuration; more: further keys of [node], a line each."""
        node = Node(name, role == "relay", self.folder)
        head = _HEAD.format(name=name, organisation=organisation, realm=REALM, role=role, admin=node.admin, more=more)
        node.config.write_text(head + tables + self.tables)
        self.nodes.append(node)

    def _left(self, node: Node) -> list[str]:
        """Return what is still missing."""
        try:
            return [trouble.sentence for trouble in troubles(node.status())]
        except PcgrelayError as error:
            return [str(error)]


_HEAD = """\
[node]
name = "{name}"
organisation = "{organisation}"
realm = "{realm}"
role = "{role}"
memory = "64MiB"
admin = "{admin}"
{more}
[identity]
certificate = "{name}.pem"
key = "{name}.key"
trust = "realm-ca.pem"
crl = "ca/realm.crl"
"""


def link_table(address: str, relay: int) -> str:
    return f"""
[[link]]
peer = "{RELAYS[relay]}.{HUB}"
address = "{address}"
bearer = "loopback"
"""


def end_all_of(folder: Path) -> None:
    """End the nodes with a configuration in this folder, whoever started them."""
    deadline = time.monotonic() + STOP_S
    while found := _nodes_in(folder):
        number = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        for pid in found:
            with suppress(OSError):
                os.kill(pid, number)
        time.sleep(POLL_S)


def _nodes_in(folder: Path) -> list[int]:
    """Processes of `pcgrelay run`; an upgrade names the file as the person did who typed it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_text(errors="surrogateescape").split("\0")
            # /proc says "(deleted)" behind a folder that is gone; then it is none of ours.
            where = os.readlink(entry / "cwd")
            if "run" in words and any(Path(where, word).parent == folder for word in words if word.endswith(".toml")):
                found.append(int(entry.name))
    return found


def free_ports(count: int) -> list[int]:
    """Return ports that nobody uses, below the kernel's range for outgoing connections. RunError: too few are free."""
    outgoing = read_kernel().ports
    candidates = list(range(10_000, max(outgoing[0] if outgoing else 0, 20_000)))
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
