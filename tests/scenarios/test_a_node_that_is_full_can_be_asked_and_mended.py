"""Whatever has taken all descriptors that it may have, the node is asked, reloads, and its links come again."""

from __future__ import annotations

import resource
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from pcgrelay.net.descriptors import descriptors_of_streams
from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import command
from tests.scenarios.kit.socket_steps import connect, read_exactly
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

# Kent has fewer, so that it is full of what the Met can still send it. Sussex has what there is.
LIMITS = {"kent": 900, "met": 1_024}
STREAMS = {name: descriptors_of_streams(limit) for name, limit in LIMITS.items()}
ALL = 0
CROWD = 1_100
SUSSEX = "sussex.police.example"
STRANGERS = 400
STRANGER_S = 1.0  # each says nothing for so long; the node waits three times as long for its first flight
UNBOUNDED = 1_000_000


class Full:
    """Kent and Sussex export to the Met. Kent and the Met may have few descriptors; nobody accepts the crowds."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.sink = socket.create_server((HOST, free_port()), backlog=4_096)
        self.target: Address = (HOST, free_port())
        self.doors: dict[str, Address] = {
            name: (HOST, free_port())
            for name in ("echo", "flood", "target", "old", "also", "kent", "sussex", "metrics", "page")
        }
        self.socket = folder / "door.sock"
        sink = host_port(self.sink.getsockname()[1])
        many = {"max_streams": UNBOUNDED}
        # Who leaves a unix socket has only ended its half, and the far side never says a word.
        policy = {"half_closed_s": 1}
        echo = {"service": "echo", "target": host_port(self.target[1]), "allow": [MET]}
        flood = {"target": sink, "allow": [MET], **many}
        imports = [
            {"service": f"echo@{KENT}", "listen": self.at("echo")},
            {"service": f"target@{KENT}", "listen": self.at("target"), **many},
            {"service": f"flood@{SUSSEX}", "listen": self.at("flood"), **many},
            {"service": f"local@{SUSSEX}", "listen": f"unix:{self.socket}", **many},
            {"service": f"old@{SUSSEX}", "listen": self.at("old"), "outlet": "old", **many},
        ]
        direct = {"service": f"old@{SUSSEX}", "name": "old", "address": sink, "bearer": "old", "probe": "none"}
        self.kent = stage.node(
            KENT,
            "kent-1",
            listens=[self.at("kent")],
            exports=[echo, {"service": "target", "also": [self.at("also")], **flood}],
            policy=policy,
        )
        stage.node(
            SUSSEX,
            "sussex-1",
            listens=[self.at("sussex")],
            exports=[{"service": name, **flood} for name in ("flood", "local", "old")],
            policy=policy,
        )
        self.met = stage.node(
            MET,
            "met-1",
            links=[
                {"peer": f"kent-1.{KENT}", "address": self.at("kent")},
                {"peer": f"sussex-1.{SUSSEX}", "address": self.at("sussex")},
            ],
            imports=imports,
            directs=[direct],
            policy=policy,
            bearers=[{"name": "old"}],
            metrics={"listen": self.at("metrics")},
            page={"listen": self.at("page")},
        )
        for name, limit in LIMITS.items():
            getattr(self, name).prefix = ("prlimit", f"--nofile={limit}:{limit}")
        stage.start()
        stage.await_well(self.met)
        self.idle = {name: getattr(self, name).descriptors for name in LIMITS}

    def at(self, name: str) -> str:
        return host_port(self.doors[name][1])


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Full]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    folder = tmp_path_factory.mktemp("full")
    try:
        with Stage(folder) as stage:
            made = Full(stage, folder)
            with made.sink, Echo(made.target):
                yield made
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def come(address: Address | str, number: int) -> socket.socket:
    """Connect, from one of many addresses of loopback, and wait for nothing."""
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it leaves by a reset
    if not isinstance(address, str):
        sock.bind((f"127.0.8.{number % 200 + 1}", 0))
    with suppress(BlockingIOError, ConnectionError):
        sock.connect(address)
    return sock


@contextmanager
def crowd(address: Address | str, count: int) -> Iterator[None]:
    with ExitStack() as held:
        for number in range(count):
            held.enter_context(come(address, number))
        yield


@contextmanager
def strangers(address: Address) -> Iterator[None]:
    """So many who say nothing, and come again and again."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            with crowd(address, STRANGERS):
                over.wait(STRANGER_S)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def talks(running: socket.socket) -> bool:
    running.sendall(b"still there")
    return read_exactly(running, 11) == b"still there"


def is_asked_and_reloads(node: Node) -> None:
    """As an operator does it, by commands that are processes of their own."""
    done = command("status", "-c", node.config)
    assert done.returncode in (0, 4), done.stdout + done.stderr
    done = command("reload", "-c", node.config)
    assert done.returncode == 0, done.stdout + done.stderr


FILLED: dict[str, tuple[str, Callable[[Full], Address | str], int, int]] = {
    # By what: whose, where they come, how many, and how many descriptors that takes at least; ALL of streams.
    "streams of an import": ("met", lambda full: full.doors["flood"], CROWD, ALL),
    "streams of a unix socket": ("met", lambda full: str(full.socket), CROWD, ALL),
    "streams over a direct outlet": ("met", lambda full: full.doors["old"], CROWD, ALL),
    "streams to a target": ("kent", lambda full: full.doors["target"], CROWD, ALL),
    "callers who come the old way": ("kent", lambda full: full.doors["also"], CROWD, ALL),
    "who reads the metrics": ("met", lambda full: full.doors["metrics"], 200, 25),
    "who reads the page": ("met", lambda full: full.doors["page"], 200, 25),
    "who asks the admin socket": ("met", lambda full: str(full.met.admin), 100, 25),
}


# The others are for `make test-all`.
IN_TEST = {"streams of an import", "who asks the admin socket"}


@pytest.mark.parametrize(
    "by", [pytest.param(by, marks=() if by in IN_TEST else (pytest.mark.tier_all,)) for by in FILLED]
)
def test_one_that_is_full_is_asked_and_reloads(full: Full, by: str, figure: Callable[[str], None]) -> None:
    who, where, count, taken = FILLED[by]
    node: Node = getattr(full, who)
    until(lambda: node.descriptors <= full.idle[who] + 5, 20, "what was before is gone")
    wanted = STREAMS[who] - 1 if taken == ALL else full.idle[who] + taken
    with connect(full.doors["echo"]) as running:
        assert talks(running)
        with crowd(where(full), count):
            until(lambda: node.descriptors >= wanted, 20, "it is full")
            is_asked_and_reloads(node)
            assert talks(running)
            figure(f"{by}: {node.descriptors} of {LIMITS[who]}")
            assert node.descriptors < LIMITS[who] - 16
        assert talks(running)


def test_links_come_again_beside_callers_and_strangers(full: Full, figure: Callable[[str], None]) -> None:
    """Kent is full of callers who come the old way, and strangers flood its port; the Met's link is a known one's."""
    until(lambda: full.kent.descriptors < STREAMS["kent"] // 2, 20, "what was before is gone")
    with crowd(full.doors["also"], CROWD), strangers(full.doors["kent"]):
        until(lambda: full.kent.status().refusals.get("out_of_descriptors", 0) > 0, 20, "strangers have their part")
        full.met.kill()
        full.met.start()
        until(full.met.is_well, 60, "the link of the Met is up again")
        for node in (full.kent, full.met):
            is_asked_and_reloads(node)
        figure(f"{full.kent.descriptors} of {LIMITS['kent']}, {full.kent.status().refusals}")


def test_all_is_as_before_when_they_are_gone(full: Full) -> None:
    until(lambda: all(node.descriptors < 200 for node in (full.kent, full.met)), 30, "all are closed")
    with connect(full.doors["echo"]) as fresh:
        assert talks(fresh)
