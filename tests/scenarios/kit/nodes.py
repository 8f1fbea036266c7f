"""The stage of the scenarios: nodes as real processes on loopback, started, watched, frozen and ended by their pids.

A Stage is a realm in a folder. A Line is the common case: two edges and no, one or two relays between them. Servers and
clients that nobody here wrote are in `real_programs`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import pytest

from pcgrelay.admin.client import read_status
from pcgrelay.admin.status import ServiceStatus, Status
from pcgrelay.errors import PcgrelayError
from tests.support.pki import Files, RealmPki, write_config
from tests.support.ports import free_port
from tests.support.waiting import until

PCGRELAY = Path(sys.executable).with_name("pcgrelay")
HOST = "127.0.0.1"
KENT, MET, HUB = "kent.police.example", "met.police.example", "hub.example"
TOPOLOGIES = {"edge-edge": 0, "edge-relay-edge": 1, "edge-relay-relay-edge": 2}
# The longest way in `make test`; the others are what most other scenarios have.
PATHS = [
    pytest.param(name, id=name, marks=(pytest.mark.tier_all,) if relays < 2 else ())
    for name, relays in TOPOLOGIES.items()
]

START_S = 60.0
STOP_S = 15.0
T = TypeVar("T")
Address = tuple[str, int]


@dataclass(frozen=True)
class Moment:
    """A place in a node's log: how many lines the process of that start had written."""

    start: int
    lines: int


@dataclass(frozen=True)
class Memory:
    """Memory of one process: its share of what is mapped, and all that is resident."""

    pss_bytes: int
    rss_bytes: int

    @classmethod
    def of(cls, pid: int) -> Self:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        figures = {name: int(kib) << 10 for name, kib in re.findall(r"^(Pss|Rss):\s+(\d+) kB$", text, re.MULTILINE)}
        return cls(figures["Pss"], figures["Rss"])


class Heir:
    """A process that took another's place: no child of ours, but with the standard output that ours had."""

    def __init__(self, pid: int, stdout: Any) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """0 once it is gone; how it ended is for its parent to know."""
        try:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            state = "Z"
        self.returncode = 0 if state == "Z" else None
        return self.returncode

    def wait(self, seconds: float) -> int:
        until(lambda: self.poll() is not None, seconds, f"{self.pid} is gone")
        return 0


class Node:
    """One node: its configuration, its process while there is one, and what can be seen of it from outside."""

    def __init__(self, organisation: str, name: str, config: Path) -> None:
        self.organisation = organisation
        self.name = name
        self.config = config
        self.admin = config.with_suffix(".sock")
        self.process: subprocess.Popen[bytes] | Heir | None = None
        self.output = ""  # what it has said on standard output since it was started
        self.prefix: tuple[str | Path, ...] = ()  # what runs the command, if it does not run by itself
        self.environment: dict[str, str] = {}
        self._starts = 0
        # What was read of which log so far, and its lines: waits look again and again, and most of it is as it was.
        self._read: tuple[Path | None, int, tuple[dict[str, Any], ...]] = (None, 0, ())

    def __repr__(self) -> str:
        return self.dotted

    @property
    def dotted(self) -> str:
        return f"{self.name}.{self.organisation}"

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self} does not run"
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    # -- life --------------------------------------------------------------------------------------------------

    def spawn(self, *arguments: str) -> None:
        """Start the process and wait for nothing."""
        assert not self.running
        self.let_go()
        self._starts += 1
        self.output = ""
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.prefix, PCGRELAY, "run", "-c", self.config, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
            )

    def await_ready(self, seconds: float = START_S) -> None:
        """Wait for the line on standard output that says that it is ready."""
        assert self.process is not None
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            deadline = time.monotonic() + seconds
            while "\n" not in self.output:
                left = deadline - time.monotonic()
                data = os.read(self.process.stdout.fileno(), 4096) if left > 0 and selector.select(left) else b""
                assert data, f"{self} is not ready; it said {self.output!r} and {self.log_text!r}"
                self.output += data.decode()
        assert "is ready" in self.output

    def start(self, *arguments: str) -> None:
        self.spawn(*arguments)
        self.await_ready()

    def stop(self, seconds: float = STOP_S) -> int:
        """Ask it to end (SIGTERM) and answer its exit code; it has so long."""
        os.kill(self.pid, signal.SIGTERM)
        return self.await_exit(seconds)

    def upgrade(self, *arguments: str, seconds: float = START_S) -> subprocess.CompletedProcess[str]:
        """Have a new process take its place; if that answers 0, this node is the new process from here on."""
        old = self.process
        assert old is not None
        done = subprocess.run(
            [PCGRELAY, "upgrade", "-c", self.config, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if done.returncode == 0:
            assert old.wait(STOP_S) == 0
            self.adopt(int(done.stdout.split()[3]))
        return done

    def adopt(self, pid: int) -> None:
        """This node is that process from here on, which has taken the place of the one that it was."""
        assert self.process is not None
        self.process = Heir(pid, self.process.stdout)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        os.kill(self.pid, signal.SIGKILL)
        self.await_exit(STOP_S)

    def await_exit(self, seconds: float) -> int:
        assert self.process is not None
        assert self.process.stdout is not None
        code = self.process.wait(seconds)
        self.output += self.process.stdout.read().decode()
        self.process.stdout.close()
        return code

    def let_go(self) -> None:
        """Close the standard output of a process that ended without being waited for."""
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop it (SIGSTOP) for as long as the block lasts."""
        with frozen(self.pid):
            yield

    # -- what can be seen --------------------------------------------------------------------------------------

    @property
    def log_path(self) -> Path:
        return self.config.with_suffix(f".{self._starts}.log")

    @property
    def log_text(self) -> str:
        return self.log_path.read_text()

    def log(self, event: str = "", /, after: Moment | None = None, **fields: object) -> list[dict[str, Any]]:
        """Lines of the log since the start, or after a moment, of that event and with those fields."""
        skipped = after.lines if after is not None and after.start == self._starts else 0
        return [
            line
            for line in self._lines()[skipped:]
            if (not event or line["event"] == event) and fields.items() <= line.items()
        ]

    def moment(self) -> Moment:
        """Now. What comes later is told by it from what was written before."""
        return Moment(self._starts, len(self._lines()))

    def _lines(self) -> tuple[dict[str, Any], ...]:
        """All whole lines that are records. The last one may be half written; it counts the next time."""
        path, at, lines = self._read
        if path != self.log_path:
            path, at, lines = self.log_path, 0, ()
        with path.open("rb") as log:
            log.seek(at)
            fresh = log.read()
        whole = fresh[: fresh.rfind(b"\n") + 1]
        if whole:
            lines = (*lines, *(json.loads(line) for line in whole.splitlines() if line.startswith(b"{")))
            # At once, for several threads may wait for lines of one node.
            self._read = (path, at + len(whole), lines)
        return lines

    def await_log(
        self, event: str, /, seconds: float = START_S, after: Moment | None = None, **fields: object
    ) -> dict[str, Any]:
        """The last such line, as soon as there is one. after: what was written before that moment does not count."""
        deadline = time.monotonic() + seconds
        while not (found := self.log(event, after, **fields)):
            last = "".join(self.log_text.splitlines(keepends=True)[-20:])
            assert time.monotonic() < deadline, f"{self} never logged {event} {fields}; its last lines are:\n{last}"
            time.sleep(0.01)
        return found[-1]

    def status(self) -> Status:
        return read_status(self.admin)

    def service(self, name: str) -> ServiceStatus:
        """The status of one service, named with or without its owner."""
        return next(service for service in self.status().services if name in (service.name, service.name.split("@")[0]))

    def asked(self, path: str) -> tuple[int, str]:
        """What the admin socket answers to a GET: the status of HTTP, and the text."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(15)
            sock.connect(str(self.admin))
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: node\r\n\r\n".encode())
            response = http.client.HTTPResponse(sock)
            response.begin()
            return response.status, response.read().decode()

    def metrics(self) -> dict[str, float]:
        """The figures of /metrics, each under its name with its labels."""
        code, text = self.asked("/metrics")
        assert code == 200, text
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("pcgrelay_"): float(value) for name, _, value in pairs}

    @property
    def memory(self) -> Memory:
        return Memory.of(self.pid)

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def niceness(self) -> dict[int, int]:
        """How nice each thread is, beyond this process."""
        own = os.getpriority(os.PRIO_PROCESS, 0)
        threads = [int(thread) for thread in os.listdir(f"/proc/{self.pid}/task")]
        return {thread: os.getpriority(os.PRIO_PROCESS, thread) - own for thread in threads}

    @property
    def cpu_s(self) -> float:
        """Processor time that it has used, its own and the kernel's for it."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def is_well(self, but: Collection[str] = ()) -> bool:
        """Whether every wanted link has all lanes, and every import but those named has a route that is ready."""
        try:
            status = self.status()
        except PcgrelayError:
            return False
        links = status.links and all(link.state == "up" and link.lanes_up == link.lanes for link in status.links)
        imports = [service for service in status.services if service.direction == "import"]
        return bool(links) and all(
            service.state == "ready" for service in imports if service.name.split("@")[0] not in but
        )


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process (SIGSTOP) for as long as the block lasts, and go on when it has really stopped."""
    os.kill(pid, signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{pid}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 5, f"{pid} is stopped")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


class Stage:
    """A realm in a folder, and the nodes that were started in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = RealmPki(folder)
        self.nodes: dict[str, Node] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def node(
        self, organisation: str, name: str, *, role: str = "edge", files: Files | None = None, **tables: Any
    ) -> Node:
        """A node with its certificate and configuration, not started; the tables are those of pki.write_config.

        Called again for a node that is there, it writes its configuration again.
        """
        dotted = f"{name}.{organisation}"
        folder = self.folder / dotted
        if files is None and not folder.exists():
            self.pki.issue(organisation, name)
        files = files or Files(folder / f"{name}.pem", folder / f"{name}.key", self.pki.trust, self.pki.crl)
        # Short, for the admin socket lies beside it, and the path of a unix socket is soon too long.
        short = self.folder / f"{name}.{organisation.partition('.')[0]}.toml"
        path = write_config(short, files, organisation, name, role=role, **tables)
        return self.nodes.setdefault(dotted, Node(organisation, name, path))

    def relay(self, name: str, **tables: Any) -> Node:
        return self.node(tables.pop("organisation", HUB), name, role="relay", **tables)

    def start(self, *nodes: Node) -> None:
        """Start these nodes (all, if none is named) at once and wait until each says that it is ready."""
        chosen = nodes or tuple(self.nodes.values())
        for node in chosen:
            node.spawn()
        for node in chosen:
            node.await_ready()

    def await_well(self, *nodes: Node, but: Collection[str] = (), seconds: float = START_S) -> None:
        """Wait until links are up with all lanes, and imports but those named are ready."""
        for node in nodes or tuple(self.nodes.values()):
            until(partial(node.is_well, but), seconds, f"{node} is well")

    def end(self) -> None:
        """End whatever still runs."""
        running = [node for node in self.nodes.values() if node.running]
        for node in running:
            os.kill(node.pid, signal.SIGKILL)
        for node in running:
            node.await_exit(STOP_S)
        for node in self.nodes.values():
            node.let_go()


@dataclass(frozen=True)
class Service:
    """A service that Kent exports and the Met imports."""

    name: str
    target: Address
    door: Address  # where applications of the Met connect

    @property
    def full_name(self) -> str:
        return f"{self.name}@{KENT}"


@dataclass
class Line:
    """An importing edge (the Met's), relays or none, and an exporting edge (Kent's)."""

    stage: Stage
    topology: str
    importer: Node
    exporter: Node
    relays: tuple[Node, ...]
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return (self.importer, *self.relays, self.exporter)

    def door(self, service: str) -> Address:
        return self.services[service].door

    def target(self, service: str) -> Address:
        return self.services[service].target

    def streams(self) -> int:
        """Streams that are open at both edges together."""
        return self.importer.status().streams.active + self.exporter.status().streams.active

    def await_quiet(self, seconds: float = 10.0) -> None:
        """Wait until no stream is open at either edge."""
        until(lambda: self.streams() == 0, seconds, "no stream is open")

    def start(self, but: Collection[str] = ()) -> None:
        """Start all nodes; imports but those named are ready then."""
        self.stage.start(*self.nodes)
        self.stage.await_well(*self.nodes, but=but)


def line(
    stage: Stage,
    topology: str,
    services: Sequence[str],
    *,
    odd_exports: Mapping[str, Mapping[str, Any] | None] | None = None,
    odd_imports: Mapping[str, Mapping[str, Any]] | None = None,
    node_table: Mapping[str, Any] | None = None,
    **tables: Any,
) -> Line:
    """Two edges and the relays of a topology, not started. Every service goes from Kent to the Met.

    odd_exports: keys of single exports that differ; None in place of a table: the service is imported and not exported.
    odd_imports: keys of single imports that differ.
    """
    odd, odd_in = dict(odd_exports or {}), odd_imports or {}
    made = {name: Service(name, (HOST, free_port()), (HOST, free_port())) for name in [*services, *odd]}
    exports = [
        {"service": name, "target": _spelt(service.target), "allow": [MET], **(odd.get(name) or {})}
        for name, service in made.items()
        if name not in odd or odd[name] is not None
    ]
    imports = [
        {"service": service.full_name, "listen": _spelt(service.door), **odd_in.get(name, {})}
        for name, service in made.items()
    ]
    common: dict[str, Any] = {"node_table": dict(node_table or {}), **tables}

    ports = [free_port() for _ in range(max(1, TOPOLOGIES[topology]))]
    relays = [
        stage.relay(
            f"relay-{number}",
            listens=[f"{HOST}:{ports[number - 1]}"],
            links=[_link(f"relay-{number - 1}.{HUB}", ports[number - 2])] if number > 1 else [],
            **_copied(common),
        )
        for number in range(1, TOPOLOGIES[topology] + 1)
    ]
    # With relays both edges dial theirs; without, the importing edge dials the other.
    first = _link(relays[0].dotted if relays else f"kent-1.{KENT}", ports[0])
    importer = stage.node(MET, "met-1", links=[first], imports=imports, **_copied(common))
    exporter = stage.node(
        KENT,
        "kent-1",
        listens=[] if relays else [f"{HOST}:{ports[0]}"],
        links=[_link(relays[-1].dotted, ports[-1])] if relays else [],
        exports=exports,
        **_copied(common),
    )
    return Line(stage, topology, importer, exporter, tuple(relays), made)


def _link(peer: str, port: int) -> dict[str, Any]:
    return {"peer": peer, "address": f"{HOST}:{port}"}


def _spelt(address: Address) -> str:
    return f"{address[0]}:{address[1]}"


def _copied(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(table) if isinstance(table, Mapping) else table for name, table in tables.items()}
