"""An edge with two relays over two networks, and a service with a back-up, for drills under live traffic."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from pcgrelay.admin.drill_answers import DRILL_PATH
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, KENT, PCGRELAY, Address, Node, Stage
from tests.scenarios.kit.reload_setup import Scene, command
from tests.support.applications import echo
from tests.support.ports import free_port
from tests.support.waiting import receive, until

SERVICE = f"named@{KENT}"
NEW, OLD = b"new ", b"old "


class Callers:
    """Applications that connect again and again, one after the other, each with a few bytes there and back."""

    def __init__(self, door: Address, count: int = 2, *, greets: bool = False) -> None:
        """greets: the far side says four bytes first, which say who it is."""
        self.good = 0
        self.faults: list[str] = []
        self.heard: dict[bytes, int] = {}
        self._door, self._greets = door, greets
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._turn = threading.Condition(self._lock)
        self._paused, self._busy = False, 0
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        until(lambda: self.good >= len(self._threads) or self.faults, 15, "applications get through")
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(20)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """None of them has a connection while the block lasts."""
        with self._turn:
            self._paused = True
            assert self._turn.wait_for(lambda: not self._busy, 20)
        try:
            yield
        finally:
            with self._turn:
                self._paused = False
                self._turn.notify_all()

    def since(self) -> dict[bytes, int]:
        """Who was heard, and how often, since this was asked last."""
        with self._lock:
            heard, self.heard = self.heard, {}
        return heard

    def _run(self) -> None:
        while not self._stopping.is_set():
            with self._turn:
                self._turn.wait_for(lambda: not self._paused, 20)
                self._busy += 1
            who, fault = b"", ""
            try:
                who = self._call()
            except OSError as error:
                fault = repr(error)
            with self._turn:
                self._busy -= 1
                self._turn.notify_all()
                if fault:
                    self.faults.append(fault)
                else:
                    self.good += 1
                    self.heard[who] = self.heard.get(who, 0) + 1
            self._stopping.wait(0.01)

    def _call(self) -> bytes:
        with socket.create_connection(self._door, timeout=15) as connection:
            who = receive(connection, 4) if self._greets else b""
            if self._greets and len(who) < 4:
                raise OSError(f"it said {who!r}")
            connection.sendall(b"there and back")
            said = receive(connection, 14)
            if said != b"there and back":
                raise OSError(f"it answered {said!r}")
            return who


class Target:
    """A server that says who it is and then echoes. From some moment on it may refuse; what is open goes on."""

    def __init__(self, name: bytes, port: int = 0) -> None:
        self._listener = socket.create_server((HOST, port), backlog=256)
        self.address: Address = self._listener.getsockname()
        self._name = name
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def refuse(self) -> None:
        """Listen no more."""
        with suppress(OSError):
            # It wakes the thread that accepts; close alone would not.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(60)
            connection.sendall(self._name)
            echo(connection)


class Realm:
    """The Met imports `echo` over the gateway alone, and `named` over the gateway with the old network as back-up."""

    def __init__(self, scene: Scene, new: Target, old: Target) -> None:
        self.scene, self.new, self.old = scene, new, old
        self.met, self.kent, self.relays = scene.met, scene.kent, scene.relays
        self.door: Address = (HOST, free_port())
        self.state = scene.stage.folder / "state"
        self.state.mkdir(mode=0o700)
        scene.change(
            scene.kent, exports=[scene.export("echo"), scene.export("named", target=host_port(new.address[1]))]
        )
        self.configure()

    def configure(self, drills: list[dict[str, Any]] | None = None, **keys: Any) -> None:
        links = [
            {**link, "bearer": bearer}
            for link, bearer in zip(self.scene.tables(self.met)["links"], ("psn", "psnp"), strict=True)
        ]
        self.scene.change(
            self.met,
            node_table={"lanes": 1, "state": str(self.state)},
            links=links,
            imports=[
                self.scene.entry("echo", self.scene.door),
                {"service": SERVICE, "listen": host_port(self.door[1]), **keys},
            ],
            directs=[
                {
                    "service": SERVICE,
                    "name": "cjx",
                    "address": host_port(self.old.address[1]),
                    "bearer": "cjx",
                    "probe": "none",
                }
            ],
            drills=drills or [],
        )

    def drill(self, *words: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
        return command("drill", *words, "-c", self.met.config, seconds=seconds)

    def held(self, *words: str, seconds: float = 60.0) -> dict[str, Any]:
        """Hold a drill to its end and return its record."""
        done = self.drill(*words, "--yes", "--json", seconds=seconds)
        assert done.stdout, done.stderr
        record: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if record.get("result") == "passed" else done.returncode or 1), done
        return record

    @contextmanager
    def holding(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Hold a drill beside what the block does."""
        with subprocess.Popen(
            [PCGRELAY, "drill", *words, "--yes", "--json", "-c", self.met.config],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                until(lambda: self.listed()["running"] is not None, 15, "the drill runs")
                yield process
            finally:
                process.wait(60)

    def listed(self) -> dict[str, Any]:
        """What `drill list` is answered."""
        code, text = self.met.asked(DRILL_PATH)
        assert code == 200, text
        listed: dict[str, Any] = json.loads(text)
        return listed

    def shares(self) -> dict[str, float]:
        """The shares of the service's outlets, in percent."""
        return {outlet.name: 100 * outlet.share for outlet in self.met.service("named").outlets}

    def used(self) -> Node:
        return self.scene.relay_used()


@contextmanager
def drilled(folder: Path, **keys: Any) -> Iterator[Realm]:
    """All is up, and both targets serve."""
    with Stage(folder) as stage, Target(NEW) as new, Target(OLD) as old:
        scene = Scene(stage, 2)
        realm = Realm(scene, new, old)
        if keys:
            realm.configure(**keys)
        with Echo(scene.target):
            # Not all at once: a busy machine gives each its time.
            for nodes in (scene.relays, [scene.kent, scene.met]):
                stage.start(*nodes)
            stage.await_well()
            # A second link is there, with all that it tells.
            until(lambda: len(realm.met.status().links) == 2, 10)
            yield realm
