"""A service of Kent that the Met moves from an old network to the gateway, with real processes and a steady client."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.scenarios.kit.bad_line import Middleman
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.nodes import HOST, KENT, Address, Node, Stage
from tests.scenarios.kit.reload_setup import Scene, command, reload
from tests.support.applications import Talk, echo, server
from tests.support.ports import free_port
from tests.support.waiting import receive, until

CLIENTS = 4  # addresses of them
PATIENCE_S = 15.0
# The least patience of an outlet is 0.3 s, and a connection that was led on took as long.
SLOW_S = 0.25

SERVICE = f"named@{KENT}"
PLAN = f"""\
[cutover]
service = "{SERVICE}"
from = "cjx"
to = "gateway"
back = ["cjx"]
steps = [25, 100]
soak = "2s"
deadline = 2150-01-01

[gate]
streams = 30
failures = "10 %"
setup = "10 % or 50 ms"
answer = "10 % or 20 ms"

[shadow]
pace = "60 / min"
"""


# A busy machine is no slow outlet.
WIDE = PLAN.replace("10 % or 50 ms", "100 % or 900 ms").replace("10 % or 20 ms", "100 % or 900 ms")
# It stays at its step.
LONG = WIDE.replace('soak = "2s"', 'soak = "10m"')


def says(name: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        connection.sendall(name)
        echo(connection)

    return talk


class Moving:
    """Kent's service `named` says who answers: the new target behind the gateway, or the old one."""

    def __init__(self, made: Scene, new: Address, old: Address, folder: Path) -> None:
        self.scene, self.folder = made, folder
        self.met, self.kent = made.met, made.kent
        self.line: Middleman | None = None
        self.door: Address = (HOST, free_port())
        self.state = made.stage.folder / "state"
        self.state.mkdir(exist_ok=True)
        self.target(new[1])
        made.change(
            self.met,
            node_table={**made.tables(self.met)["node_table"], "state": str(self.state)},
            imports=[
                made.entry("echo", made.door),
                {"service": SERVICE, "listen": host_port(self.door[1]), "outlet": "cjx"},
            ],
            directs=[
                {"service": SERVICE, "name": "cjx", "address": host_port(old[1]), "bearer": "cjx", "probe": "none"}
            ],
            bearers=[{"name": "cjx", "marking": "OFFICIAL"}],
        )

    def target(self, port: int, **keys: str) -> None:
        """Have Kent's edge lead to a target on this port."""
        exports = [self.scene.export("echo"), self.scene.export("named", target=host_port(port), **keys)]
        self.scene.change(self.kent, exports=exports)

    def retarget(self, port: int, **keys: str) -> None:
        """The same while it runs."""
        self.target(port, **keys)
        assert reload(self.kent).ok

    def plan(self, text: str = PLAN) -> Path:
        file = self.folder / "named.plan.toml"
        file.write_text(text)
        return file

    def cutover(self, *words: str) -> subprocess.CompletedProcess[str]:
        return command("cutover", *words, "-c", self.met.config)

    def start(self, text: str = PLAN, *words: str) -> None:
        done = self.cutover("start", str(self.plan(text)), *words)
        assert done.returncode == 0, done.stdout + done.stderr

    def told(self) -> dict[str, Any]:
        """The cut-over, as the node tells it."""
        return told_of(self.met, SERVICE)

    @property
    def phase(self) -> str:
        return str(self.told()["phase"])

    @property
    def share(self) -> float:
        return float(self.told()["share"])


@contextmanager
def target(port: int, talk: Talk) -> Iterator[None]:
    """A target on one port, as long as the block lasts."""
    listener = socket.create_server((HOST, port), backlog=256)
    held: list[socket.socket] = []

    def run(connection: socket.socket) -> None:
        with suppress(OSError), connection:
            connection.settimeout(20)
            talk(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                held.append(connection)
                threading.Thread(target=run, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in held:
            with suppress(OSError):
                connection.close()


class Client:
    """An application that connects again and again, says something, and counts who answered and what went wrong.

    It has several threads: a stream that is open when a path is lost waits for another path, and so does its thread.
    They have several addresses, as clients do. A connection that heard nothing has failed; one that heard who answers,
    and then broke, was cut.
    """

    def __init__(self, door: Address, every_s: float = 0.08, threads: int = 8) -> None:
        self.door = door
        self.answers: Counter[bytes] = Counter()
        self.faults: list[str] = []
        self.failed = 0
        self.cut = 0
        self.moments: list[tuple[float, float, str]] = []  # when that connection began, and when it was seen
        self.slowest_s = 0.0
        self.last: deque[tuple[float, bytes]] = deque(maxlen=200_000)
        self.slow: deque[float] = deque(maxlen=10_000)  # when each began that took SLOW_S
        self._every_s = every_s
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(f"127.0.8.{number % CLIENTS + 1}",), daemon=True)
            for number in range(threads)
        ]

    def _run(self, source: str) -> None:
        while not self._stop.wait(self._every_s):
            began = time.monotonic()
            said = b""
            try:
                with socket.create_connection(self.door, timeout=PATIENCE_S, source_address=(source, 0)) as connection:
                    said = receive(connection, 4)
                    self._talk(connection, said)
            except OSError as error:
                with self._lock:
                    self.faults.append(f"{type(error).__name__}: {error}, after {said!r}")
                    self.failed += len(said) < 4
                    self.cut += len(said) == 4
                    self.moments.append((began, time.monotonic(), self.faults[-1]))
                continue
            with self._lock:
                self.answers[said] += 1
                took_s = time.monotonic() - began
                self.slowest_s = max(self.slowest_s, took_s)
                if took_s >= SLOW_S:
                    self.slow.append(began)
                self.last.append((began, said))

    def _talk(self, connection: socket.socket, said: bytes) -> None:
        """What it does once it is known who answers."""
        connection.sendall(b"question")
        answer = receive(connection, 8)
        if len(said) != 4 or answer != b"question":
            raise OSError(f"it ended early: {said!r} {answer!r}")

    def since(self, moment: float) -> Counter[bytes]:
        """Who answered connections that began after a moment of the monotonic clock."""
        with self._lock:
            return Counter(said for began, said in self.last if began >= moment)

    def faults_beside(self, first: float, last: float) -> list[str]:
        """What went wrong with connections, but for those that were open at some time between two moments."""
        with self._lock:
            return [what for began, seen, what in self.moments if seen < first or began > last]

    def first_slow(self, moment: float) -> float | None:
        """When the first connection since a moment began that took SLOW_S."""
        with self._lock:
            return min((began for began in self.slow if began >= moment), default=None)

    def last_of(self, name: bytes) -> float:
        """When the last connection began that this one answered."""
        with self._lock:
            return max((began for began, said in self.last if said == name), default=0.0)

    def __enter__(self) -> Client:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


@contextmanager
def moving(
    folder: Path,
    new: Talk | None = None,
    old: Talk | None = None,
    relays: int = 1,
    new_at: Address | None = None,
    old_at: Address | None = None,
    *,
    over_a_line: bool = False,
    workers: int = 0,
    before: Callable[[Moving], None] | None = None,
) -> Iterator[Moving]:
    """The realm, before the first step; with targets of its own, or with those at the addresses.

    over_a_line: the Met reaches its relay over a line that the test can make bad. before: is done before nodes start.
    """
    with Stage(folder) as stage, ExitStack() as stack:
        new_at = new_at or stack.enter_context(server(new or says(b"new ")))
        old_at = old_at or stack.enter_context(server(old or says(b"old ")))
        scene = Scene(stage, relays)
        if workers:
            scene.change(scene.met, node_table={"lanes": 1, "workers": workers})
        made = Moving(scene, new_at, old_at, folder)
        if over_a_line:
            made.line = stack.enter_context(line_before(scene))
        if before is not None:
            before(made)
        stage.start()
        stage.await_well()
        until(lambda: made.met.service("named").state == "ready", 10)
        until(lambda: gateway_is_ready(made), 10)
        yield made


@contextmanager
def line_before(scene: Scene) -> Iterator[Middleman]:
    """Between the Met and its relay."""
    port, (relay,) = free_port(), scene.relays
    with Middleman.between((port, relay_port(scene)), is_narrow=True) as line:
        scene.change(scene.met, links=[{"peer": relay.dotted, "address": host_port(port)}])
        yield line


def relay_port(scene: Scene) -> int:
    """Where the first relay listens."""
    return int(scene.tables(scene.relays[0])["listens"][0].rpartition(":")[2])


def gateway_is_ready(made: Moving) -> bool:
    return gateway_is_ready_at(made.met, "named")


def gateway_is_ready_at(met: Node, service: str) -> bool:
    return any(outlet.name == "gateway" and outlet.state == "ready" for outlet in met.service(service).outlets)


def told_of(met: Node, service: str) -> dict[str, Any]:
    """A cut-over, as the node tells it."""
    code, body = met.asked(f"/v1/cutover?service={service}")
    assert code == 200, body
    found: dict[str, Any] = json.loads(body)
    return found


def await_phase(made: Moving, phase: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while (told := made.told())["phase"] != phase:
        findings = [(each["title"], each["outcome"], each["sentence"]) for each in told["findings"]]
        decisions = [each["sentence"] for each in told["decisions"]]
        assert time.monotonic() < deadline, (told["phase"], told["why"], findings, decisions)
        time.sleep(0.1)


Fault = Callable[[Moving], None]
