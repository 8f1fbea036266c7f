"""A node that has no descriptor left: it does not spin, what runs goes on, and it takes new work as soon as it can."""

from __future__ import annotations

import itertools
import os
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.scenarios.kit.echo_witness import counts
from tests.scenarios.kit.nodes import HOST, KENT, Address, Node
from tests.scenarios.kit.reload_setup import Scene, scene
from tests.scenarios.kit.socket_steps import connect, read_exactly
from tests.support.applications import knock
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SPARE = 3
FLOOD = 500  # fewer than the kernel keeps in its queue: what is beyond tries again by itself a second later
WATCHED_S = 2.0
CPU_MOST = 0.03
RECOVERED_S = 5.0
FLOOD_RECOVERED_S = 10.0  # the whole flood is served first; on a free machine this takes 0.2 s


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("descriptors")) as found:
        yield found


@contextmanager
def narrowed(node: Node, spare: int = SPARE) -> Iterator[None]:
    """Leave the node only so many descriptors more than it has."""
    before = resource.prlimit(node.pid, resource.RLIMIT_NOFILE)
    # The limit is one of numbers, and there are gaps among those in use.
    used = {int(name) for name in os.listdir(f"/proc/{node.pid}/fd")}
    free = (number for number in itertools.count() if number not in used)
    limit = next(itertools.islice(free, spare, None))
    resource.prlimit(node.pid, resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(node.pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def crowd(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """So many connections that nobody waits for."""
    with ExitStack() as held:
        yield [held.enter_context(knock(address, f"127.0.8.{number % 200 + 1}")) for number in range(count)]


def talks(sock: socket.socket, word: bytes) -> bool:
    sock.sendall(word)
    return read_exactly(sock, len(word)) == word


def cpu_share(node: Node, seconds: float) -> float:
    """The share of a processor that the node takes for that time."""
    before, begun = node.cpu_s, time.monotonic()
    until(lambda: time.monotonic() - begun > seconds, seconds + 5, "so long it was watched")
    return (node.cpu_s - before) / (time.monotonic() - begun)


def test_an_importing_edge_in_a_flood_of_connects(made: Scene, figure: Callable[[str], None]) -> None:
    before, descriptors = counts(made.met), made.met.descriptors
    with connect(made.door) as running:
        assert talks(running, b"before")
        idle = cpu_share(made.met, 1.0)
        with narrowed(made.met, spare=64), crowd(made.door, FLOOD):
            until(lambda: made.met.descriptors >= descriptors + 60, 20, "nothing is left")
            share = cpu_share(made.met, WATCHED_S)
            assert talks(running, b"during")
            assert share < CPU_MOST + idle
        begun = time.monotonic()
        with connect(made.door) as fresh:
            assert talks(fresh, b"after")
        recovered_s = time.monotonic() - begun
        assert recovered_s < FLOOD_RECOVERED_S
    after = counts(made.met)
    assert after["accept_failed_total"] > before["accept_failed_total"]
    until(lambda: made.met.descriptors <= descriptors + 1, 10, "descriptors are as before")
    figure(
        f"{FLOOD} connects: {share * 100:.1f} % of a processor, {idle * 100:.1f} % before; "
        f"recovered {recovered_s * 1000:.0f} ms after"
    )


def test_a_relay_that_can_take_no_neighbour(made: Scene, figure: Callable[[str], None]) -> None:
    relay = made.relays[0]
    before = counts(relay)
    link = next(line for line in made.met.config.read_text().splitlines() if line.startswith("address"))
    port = int(link.rpartition(":")[2].strip('"'))
    with connect(made.door) as running:
        assert talks(running, b"before")
        begun, since = time.monotonic(), relay.moment()
        with narrowed(relay), crowd((HOST, port), 40):
            relay.await_log("listener.paused", after=since, reason="reserve")
            share = cpu_share(relay, WATCHED_S)
            assert talks(running, b"during")
            assert share < CPU_MOST
            # Once a second, however long this took.
            assert len(relay.log("listener.paused", since)) <= 1 + time.monotonic() - begun
        until(lambda: counts(relay)["out_of_descriptors"] > before.get("out_of_descriptors", 0), 20, "it is counted")
    figure(f"40 strangers: {share * 100:.1f} % of a processor")


def test_an_exporting_edge_that_cannot_reach_its_target(made: Scene) -> None:
    """The one stream is refused by its cause; the next one passes as soon as there is a descriptor."""
    with connect(made.door) as running:
        assert talks(running, b"before")
        with narrowed(made.kent, spare=0):
            with pytest.raises(ConnectionResetError), connect(made.door) as refused:
                refused.recv(1)
            assert talks(running, b"during")
        begun = time.monotonic()
        with connect(made.door) as fresh:
            assert talks(fresh, b"after")
        assert time.monotonic() - begun < RECOVERED_S
    line = made.kent.await_log("stream.refused", cause="descriptors")
    assert counts(made.kent)["stream_descriptors"] == 1
    assert (line["service"], line["code"]) == (f"echo@{KENT}", "busy")
