"""Clients that nobody here wrote, at work without a pause while their services move; none of them may notice."""

from __future__ import annotations

import hashlib
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pcgrelay.admin.client import ask
from pcgrelay.admin.cutover_answers import CUTOVER_PATH, CutoverStatus
from tests.scenarios.kit.cut_over import PLAN, gateway_is_ready_at, told_of
from tests.scenarios.kit.echo_witness import host_port
from tests.scenarios.kit.gateway_faults import NEW, OLD, Far
from tests.scenarios.kit.nodes import HOST, KENT, Address, Stage
from tests.scenarios.kit.real_programs import Shell, fetched, nginx, postgresql, redis, run, sshd
from tests.scenarios.kit.reload_setup import Scene, command
from tests.support.applications import server
from tests.support.ports import free_port
from tests.support.waiting import receive, until

SERVERS = ("sql", "redis", "web", "ssh")
# It says who answers; idle connections are its as well.
NAMED = "named"
STEPS = (1, 5, 25, 50, 100)
# Hardly used, or waiting for the test: a person steps over what is open.
RARE = ("ssh", "named")
# What a shadow says and hears, so that it is a clean conversation; ssh speaks first, and wants no strangers.
SHADOWS = {
    "sql": r"send = '\x00\x00\x00\x08\x04\xd2\x16\x2f'" + "\nexpect = 'N'",
    "redis": r"send = 'PING\r\n'" + "\nexpect = '+PONG'",
    "web": r"send = 'HEAD /small HTTP/1.0\r\n\r\n'" + "\nexpect = 'HTTP/1.1 200'",
}
WAIVED = "enough,failures,tail,broken,setup,answer,rate"
DATABASE_CLIENTS = 20
TRANSFERS = 4
SMALL_BYTES, BULK_BYTES, SHELL_BYTES = 20_000, 4 << 20, 200_000
# Each answer is computed from all figures, by a node that has other work.
ASKED_EVERY_S = 0.5
# All 200 slots once: then each outlet has its exact share.
BURST = 200


class Work:
    """One client that does its work again and again until it is told to end."""

    def __init__(self, name: str, once: Callable[[], int], pause_s: float = 0.0) -> None:
        self.name, self.done = name, 0
        self.faults: list[str] = []
        self._once, self._pause_s = once, pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.done += self._once()
            except (OSError, AssertionError, ValueError) as error:
                self.faults.append(f"{self.name}: {error}")
            self._stop.wait(self._pause_s)

    def __enter__(self) -> Work:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


class Moved:
    """An edge of two workers with five services, each over the old network and over the gateway to the same server."""

    def __init__(self, scene: Scene, targets: dict[str, tuple[Address, Address]]) -> None:
        """targets: of each service, over the gateway and over the old network."""
        self.scene, self.met = scene, scene.met
        self.by_hand: tuple[str, ...] = RARE
        self.doors: dict[str, Address] = {name: (HOST, free_port()) for name in targets}
        state = scene.stage.folder / "state"
        state.mkdir(mode=0o700)
        exports = [scene.export(name, target=host_port(new[1])) for name, (new, _) in targets.items()]
        scene.change(scene.kent, exports=[scene.export("echo"), *exports])
        scene.change(
            scene.met,
            node_table={"lanes": 1, "workers": 2, "state": str(state)},
            imports=[scene.entry("echo", scene.door)]
            + [{**scene.entry(name, door), "outlet": "cjx"} for name, door in self.doors.items()],
            directs=[
                {"service": f"{name}@{KENT}", "name": "cjx", "address": host_port(old[1]), "probe": "none"}
                for name, (_, old) in targets.items()
            ],
        )

    def start(self, folder: Path, soak_s: float) -> None:
        for name in self.doors:
            file = folder / f"{name}.plan.toml"
            file.write_text(plan_of(name, soak_s))
        files = [str(folder / f"{name}.plan.toml") for name in self.doors]
        done = command("cutover", "start", *files, "-c", self.met.config)
        assert done.returncode == 0, done.stdout + done.stderr

    def told(self, name: str) -> dict[str, Any]:
        return told_of(self.met, f"{name}@{KENT}")

    def step_over(self) -> None:
        """What is used too little for its soak goes on by hand, once that is over."""
        for name in self.by_hand:
            told = self.told(name)
            if told["phase"] == "soaking" and told["soaked_s"] >= told["soak_s"]:
                self.advance(name)

    def advance(self, name: str) -> None:
        """Step over what is open; that it went on by itself just now, or still soaks, is no matter."""
        query = urlencode({"service": f"{name}@{KENT}", "act": "advance", "waive": WAIVED, "reason": "hardly used"})
        ask(self.met.admin, "POST", f"{CUTOVER_PATH}?{query}", CutoverStatus, 30.0)


def plan_of(name: str, soak_s: float) -> str:
    """Margins so wide that a busy machine is no slow outlet."""
    pace = "off" if name == "ssh" else "60 / min"
    conversation = SHADOWS.get(name, "")
    return (
        PLAN.replace("named@", f"{name}@")
        .replace("steps = [25, 100]", f"steps = {list(STEPS)}")
        .replace('soak = "2s"', f'soak = "{soak_s:g}s"')
        # That one waits for the test.
        .replace("streams = 30", f"streams = {100_000 if name == NAMED else 5}")
        .replace('failures = "10 %"', 'failures = "60 %"')
        .replace('setup = "10 % or 50 ms"', 'setup = "100 % or 900 ms"')
        .replace('answer = "10 % or 20 ms"', 'answer = "100 % or 900 ms"\nrate = "90 %"')
        .replace('pace = "60 / min"', f'pace = "{pace}"\n{conversation}')
    )


@contextmanager
def five_services(folder: Path) -> Iterator[tuple[Moved, Callable[[], list[Work]]]]:
    """All is up, and everything goes over the old network; with what makes the clients."""
    with ExitStack() as stack:
        ports: dict[str, Address] = {name: (HOST, free_port()) for name in SERVERS}
        root = folder / "root"
        root.mkdir()
        bodies = {"small": random.randbytes(SMALL_BYTES), "bulk": random.randbytes(BULK_BYTES)}
        for name, body in bodies.items():
            (root / name).write_bytes(body)
        user = stack.enter_context(postgresql(ports["sql"]))
        stack.enter_context(redis(folder / "redis", ports["redis"]))
        stack.enter_context(nginx(folder / "nginx", root, ports["web"]))
        shell = stack.enter_context(sshd(ports["ssh"]))
        run("pgbench", "-i", "-q", "-s", "1", *at(ports["sql"], user))
        targets = {name: (port, port) for name, port in ports.items()}
        targets[NAMED] = (stack.enter_context(server(Far(NEW).talk)), stack.enter_context(server(Far(OLD).talk)))
        stage = stack.enter_context(Stage(folder))
        moved = Moved(Scene(stage, 1), targets)
        stage.start()
        stage.await_well()
        for name in targets:
            until(lambda name=name: gateway_is_ready_at(moved.met, name), 15)
        yield moved, lambda: works(moved.doors, user, shell, bodies)


def at(address: Address, user: str) -> list[str]:
    return ["-h", address[0], "-p", str(address[1]), "-U", user, "-d", "postgres"]


def works(doors: dict[str, Address], user: str, shell: Shell, bodies: dict[str, bytes]) -> list[Work]:
    """What each client does, over and over."""
    digests = {name: hashlib.sha256(body).digest() for name, body in bodies.items()}
    (web, web_port), (cache, cache_port) = doors["web"], doors["redis"]
    said = random.randbytes(SHELL_BYTES).hex().encode()
    key_at = ["-h", cache, "-p", str(cache_port)]

    def database() -> int:
        """Each transaction over a connection of its own."""
        load = ["-n", "-S", "-C", "-c", str(DATABASE_CLIENTS), "-j", "2", "-R", "20", "-T", "2"]
        told = run("pgbench", *load, *at(doors["sql"], user))
        found = re.search(r"actually processed: (\d+)", told), re.search(r"failed transactions: (\d+)", told)
        assert found[0] is not None
        assert found[1] is not None
        assert int(found[1][1]) == 0, told
        return int(found[0][1])

    def fetch(name: str, *options: str) -> int:
        body = fetched("curl", "-sS", "--fail", "-H", "Connection: close", *options, f"http://{web}:{web_port}/{name}")
        assert hashlib.sha256(body).digest() == digests[name], "the hash is another"
        return 1

    def benchmark() -> int:
        """Each request over a connection of its own."""
        told = run("redis-benchmark", *key_at, "-k", "0", "-c", "4", "-n", "50", "-t", "set,get", "--csv")
        assert told.count("\n") >= 3, told
        assert "rror" not in told, told
        return 100

    def key() -> int:
        value = random.randbytes(16).hex()
        assert run("redis-cli", *key_at, "set", "key", value).strip() == "OK"
        assert run("redis-cli", *key_at, "get", "key").strip() == value
        return 2

    def remote() -> int:
        """The server speaks first."""
        door, port = doors["ssh"]
        told = run("ssh", *shell.options, "-p", str(port), f"{shell.user}@{door}", "cat", data=said)
        assert told.encode() == said, "it came back otherwise"
        return 1

    return [
        Work("pgbench", database),
        Work("curl", lambda: fetch("small"), 0.1),
        *(Work(f"transfer {number}", lambda: fetch("bulk", "--limit-rate", "4M")) for number in range(TRANSFERS)),
        Work("redis-benchmark", benchmark, 1.0),
        Work("redis-cli", key, 0.3),
        Work("ssh", remote, 0.5),
    ]


def who_answers(door: Address, count: int, threads: int = 4) -> Counter[bytes]:
    """So many connections, several at once, and who answered them."""
    answers: Counter[bytes] = Counter()
    lock, left = threading.Lock(), iter(range(count))

    def run() -> None:
        while True:
            with lock:
                if next(left, None) is None:
                    return
            with socket.create_connection(door, timeout=15) as connection:
                said = receive(connection, 4)
                connection.sendall(b"question")
                assert receive(connection, 8) == b"question"
            with lock:
                answers[said] += 1

    running = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    return answers


def await_step(moved: Moved, name: str, step: int, seconds: float) -> dict[str, Any]:
    """Wait until it is that step's turn; services that are hardly used are stepped on meanwhile."""
    deadline = time.monotonic() + seconds
    while (told := moved.told(name))["phase"] == "soaking" and told["step"] < step:
        assert time.monotonic() < deadline, (name, told["why"])
        moved.step_over()
        time.sleep(ASKED_EVERY_S)
    return told
