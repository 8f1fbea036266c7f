"""Relays and links that go and come back: who is disturbed, who is not, and how everybody finds together again."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Address, Line, Node, Stage, line
from tests.scenarios.kit.socket_steps import Conversation, read_exactly, wire, wire_between
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

SURREY = "surrey.police.example"
PROMPT_S = 10.0
# Far more than a turn takes on a crowded machine, less than the loss of a path that nobody tells of.
UNDISTURBED_S = 1.5


@dataclass
class Fork:
    """The Met behind two relays; Kent behind the first, Surrey behind the second, or both behind both."""

    stage: Stage
    met: Node
    relays: list[Node]
    kent: tuple[Address, Address]  # door and target of its service
    surrey: tuple[Address, Address]


def forked(folder: Path, *, crossed: bool) -> Iterator[Fork]:
    with Stage(folder) as stage:
        ports = [free_port(), free_port()]
        links = [{"peer": f"relay-{n}.{HUB}", "address": f"{HOST}:{port}"} for n, port in enumerate(ports, 1)]
        relays = [stage.relay(f"relay-{n}", listens=[f"{HOST}:{port}"]) for n, port in enumerate(ports, 1)]
        ends = []
        imports = []
        for number, organisation in enumerate((KENT, SURREY)):
            target, door = (HOST, free_port()), (HOST, free_port())
            export = {"service": "echo", "target": f"{HOST}:{target[1]}", "allow": [MET]}
            stage.node(organisation, "edge-1", links=links if crossed else [links[number]], exports=[export])
            imports.append({"service": f"echo@{organisation}", "listen": f"{HOST}:{door[1]}"})
            ends.append((door, target))
        met = stage.node(MET, "met-1", links=links, imports=imports)
        stage.start()
        stage.await_well()
        yield Fork(stage, met, relays, *ends)


@pytest.fixture
def fork(tmp_path: Path) -> Iterator[Fork]:
    yield from forked(tmp_path, crossed=False)


@pytest.fixture
def crossing(tmp_path: Path) -> Iterator[Fork]:
    yield from forked(tmp_path, crossed=True)


def test_streams_of_the_other_relay_notice_nothing_of_a_restart(fork: Fork, figure: Callable[[str], None]) -> None:
    with wire_between(*fork.kent) as kent, wire_between(*fork.surrey) as surrey:
        kent[0].sendall(b"before")
        assert read_exactly(kent[1], 6) == b"before"
        with Conversation.over(*surrey) as talk:
            talk.await_words(100)
            talk.forget_the_longest()
            fork.relays[0].kill()
            until(lambda: fork.met.service(f"echo@{KENT}").state != "ready", PROMPT_S, "Kent is gone")
            assert fork.met.service(f"echo@{SURREY}").state == "ready"
            talk.await_words(100)
            begun = time.monotonic()
            fork.relays[0].start()
            fork.stage.await_well()
            seconds = time.monotonic() - begun
            talk.await_words(100)
        assert not talk.failure
        assert talk.longest_s < UNDISTURBED_S
        # And the stream that went through it goes on, for its edges kept what was not acknowledged.
        kent[0].sendall(b"after")
        assert read_exactly(kent[1], 5) == b"after"
    figure(f"the others waited at most {talk.longest_s * 1000:.1f} ms; all was well {seconds:.1f} s after the start")


@pytest.mark.tier_all
def test_streams_of_a_relay_that_dies_go_on_through_the_other(crossing: Fork, figure: Callable[[str], None]) -> None:
    with wire_between(*crossing.kent) as ends, Conversation.over(*ends) as talk:
        talk.await_words(100)
        talk.forget_the_longest()
        via = crossing.met.service(f"echo@{KENT}").routes[0].via
        relay = next(relay for relay in crossing.relays if relay.dotted == via)
        relay.kill()
        talk.await_words(100)
        assert crossing.met.service(f"echo@{KENT}").routes[0].via != via
        crossing.met.await_log("session.resumed")
    assert not talk.failure
    figure(f"the longest wait was {talk.longest_s * 1000:.0f} ms")


def test_streams_of_a_relay_that_drains_go_on_through_the_other(crossing: Fork, figure: Callable[[str], None]) -> None:
    with wire_between(*crossing.kent) as ends, Conversation.over(*ends) as talk:
        talk.await_words(100)
        talk.forget_the_longest()
        via = crossing.met.service(f"echo@{KENT}").routes[0].via
        relay = next(relay for relay in crossing.relays if relay.dotted == via)
        os.kill(relay.pid, signal.SIGTERM)
        assert relay.await_exit(10) == 0
        talk.await_words(100)
    assert not talk.failure
    assert talk.longest_s < UNDISTURBED_S
    figure(f"the longest wait was {talk.longest_s * 1000:.1f} ms")


@pytest.mark.tier_all
def test_a_lost_link_withdraws_its_services_and_is_dialled_ever_more_rarely(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        made = line(stage, "edge-relay-edge", ["echo"])
        made.start()
        relay = made.relays[0]
        address = listener_of(made)
        relay.kill()
        until(lambda: made.importer.service("echo").state != "ready", PROMPT_S, "the service is withdrawn")
        for edge in (made.importer, made.exporter):
            edge.await_log("link.down", peer=relay.dotted)
            edge.await_log("link.failed", peer=relay.dotted)
            link = edge.status().links[0]
            assert (link.state, link.direction) in (("down", "out"), ("connecting", "out"))

        dialled = dialled_within(address, 5.0)
        # Two edges; each waits at most 0.2, 0.4, 0.8 and 1.6 s for its first attempts, and a tenth of all that rarely.
        assert 4 <= len(dialled) <= 40

        relay.start()
        # The wait may be ten seconds by now, but not longer.
        stage.await_well(seconds=15)
        with wire(made) as (client, server):
            client.sendall(b"together again")
            assert read_exactly(server, 14) == b"together again"


def listener_of(made: Line) -> Address:
    relay = made.relays[0]
    text = next(text for text in relay.config.read_text().splitlines() if text.startswith("address"))
    return HOST, int(text.rpartition(":")[2].strip('"'))


def dialled_within(address: Address, seconds: float) -> list[float]:
    """Stand where the relay stood, hang up on whoever calls, and answer when they did."""
    times = []
    deadline = time.monotonic() + seconds
    with socket.create_server(address) as server:
        while (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                caller, _ = server.accept()
            except TimeoutError:
                break
            caller.close()
            times.append(time.monotonic())
    return times
