"""The store of `pcgrelay demo --fleet`: three members of an etcd on loopback, in the folder of the demonstration."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import subprocess
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from pcgrelay.admin.client import ask
from pcgrelay.admin.fleet_answers import FLEET_PATH, FleetAnswer
from pcgrelay.ca import Authority
from pcgrelay.demo.node import Node
from pcgrelay.demo.nodes import HUB, free_ports
from pcgrelay.errors import RunError
from pcgrelay.files import reason_of

MEMBERS = 3
NAME = "store"  # of their certificate
HOST = "127.0.0.1"
READY_S = 60.0
STOP_S = 5.0
POLL_S = 0.1
ASK_S = 2.0
SHOWN_S = 60.0
# Each member reserves two segments of its log, of 64 MiB each, before the first one is full.
ROOM_BYTES = MEMBERS * (128 << 20)


@dataclass
class Store:
    """All members, each a process."""

    folder: Path
    program: str
    ports: list[int] = field(default_factory=list)  # for clients, then for the members among themselves
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def find(cls, folder: Path) -> Store:
        """Return a store that is not started. RunError: etcd is not installed."""
        program = shutil.which("etcd")
        if program is None:
            raise RunError(
                "etcd is not installed, and --fleet needs it: apt install etcd-server, or leave --fleet out."
            )
        return cls(folder, program, free_ports(2 * MEMBERS))

    @property
    def endpoints(self) -> list[str]:
        return [f"https://{HOST}:{port}" for port in self.ports[:MEMBERS]]

    @property
    def tables(self) -> str:
        """What the configuration of each node has of it."""
        listed = ", ".join(f'"{endpoint}"' for endpoint in self.endpoints)
        return f"""
[fleet]
store = "etcd"
endpoints = [{listed}]
"""

    def start(self) -> None:
        """Start the members, which wait for each other. RunError: one cannot be started."""
        # Members and nodes show each other certificates of the realm.
        Authority(self.folder / "ca").issue(HUB, NAME, self.folder, hosts=[HOST])
        peers = [f"http://{HOST}:{port}" for port in self.ports[MEMBERS:]]
        names = [f"etcd-{number}" for number in range(1, MEMBERS + 1)]
        cluster = ",".join(f"{name}={peer}" for name, peer in zip(names, peers, strict=True))
        for name, endpoint, peer in zip(names, self.endpoints, peers, strict=True):
            command = [
                self.program, "--name", name, "--data-dir", os.fspath(self.folder / name), "--logger", "zap",
                "--listen-client-urls", endpoint, "--advertise-client-urls", endpoint,
                "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", cluster, "--initial-cluster-token", os.fspath(self.folder),
                "--client-cert-auth", "--trusted-ca-file", os.fspath(self.folder / "realm-ca.pem"),
                "--cert-file", os.fspath(self.folder / f"{NAME}.pem"),
                "--key-file", os.fspath(self.folder / f"{NAME}.key"),
            ]  # fmt: skip
            with (self.folder / f"{name}.log").open("wb") as log:
                try:
                    process = subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
                    )
                except OSError as error:
                    raise RunError(f"{name} cannot be started ({reason_of(error)}): {self.program}") from None
            self.processes.append(process)

    def wait(self) -> None:
        """Wait until each member answers. RunError: READY_S have passed, or one has ended."""
        context = ssl.create_default_context(cafile=self.folder / "realm-ca.pem")
        context.load_cert_chain(self.folder / f"{NAME}.pem", self.folder / f"{NAME}.key")
        deadline = time.monotonic() + READY_S
        for number, port in enumerate(self.ports[:MEMBERS], 1):
            while not _is_well(port, context):
                if self.processes[number - 1].poll() is not None or time.monotonic() > deadline:
                    raise RunError(f"etcd-{number} does not run; the last line of its log: {self._last_line(number)}")
                time.sleep(POLL_S)

    def stop(self) -> None:
        """End all members."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _last_line(self, number: int) -> str:
        lines = (self.folder / f"etcd-{number}.log").read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), "nothing")


def fleet_seen(node: Node, nodes: int) -> FleetAnswer:
    """Return the fleet as a node sees it, once that many nodes are in the store and ready. RunError: too few are."""
    deadline = time.monotonic() + SHOWN_S
    while True:
        answer = ask(node.admin, "GET", FLEET_PATH, FleetAnswer)
        ready = sum(each.ready for each in answer.nodes)
        if answer.complete and not answer.status.sentence and ready >= nodes:
            return answer
        if time.monotonic() > deadline:
            why = f": {answer.status.sentence}" if answer.status.sentence else "."
            raise RunError(f"After {SHOWN_S:g} s the store has {ready} of {nodes} nodes as ready{why}")
        time.sleep(POLL_S)


def _is_well(port: int, context: ssl.SSLContext) -> bool:
    """Whether a member answers, and the majority through it."""
    connection = http.client.HTTPSConnection(HOST, port, timeout=ASK_S, context=context)
    with closing(connection), suppress(OSError, http.client.HTTPException):
        connection.request("POST", "/v3/kv/range", '{"key": "eA=="}')
        return connection.getresponse().status == http.client.OK
    return False
