"""SIGTERM: nothing new is taken, what runs may end, and the exit is silent and clean."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Address, Line, Node, Stage, line
from tests.scenarios.kit.socket_steps import connect, read_exactly, wire
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

DRAIN_S = 20.0
PROMPT_S = 3.0
GRACE_S = 8.0


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Line]:
    with Stage(tmp_path) as stage:
        yield line(stage, "edge-relay-edge", ["echo"])


def left_silently(node: Node, seconds: float, streams: int = 0) -> None:
    """The node ends by itself within so long, cleanly, and says nothing but its log."""
    assert node.await_exit(seconds) == 0
    assert node.output.count("\n") == 1
    for text in node.log_text.splitlines():
        json.loads(text)
    assert node.log()[-1]["event"] == "node.stopped"
    assert node.log()[-1]["streams"] == streams
    assert not node.admin.exists()
    assert not node.log("node.failure")


def nobody_is_let_in(door: Address) -> bool:
    try:
        with connect(door) as client:
            return client.recv(1) != b""
    except (ConnectionRefusedError, ConnectionResetError):
        return True


def test_idle_nodes_of_every_role_leave_at_once(pair: Line) -> None:
    pair.start()
    for node in pair.nodes:
        begun = time.monotonic()
        os.kill(node.pid, signal.SIGTERM)
        left_silently(node, PROMPT_S)
        assert time.monotonic() - begun < PROMPT_S


@pytest.mark.parametrize("side", ["importer", "exporter"])
def test_a_stream_that_runs_may_end_and_no_new_one_begins(pair: Line, side: str) -> None:
    node: Node = getattr(pair, side)
    for other in pair.nodes:
        other.spawn("--drain", str(DRAIN_S))
    for other in pair.nodes:
        other.await_ready()
    pair.stage.await_well()
    with wire(pair) as (client, server):
        client.sendall(b"before")
        assert read_exactly(server, 6) == b"before"
        os.kill(node.pid, signal.SIGTERM)
        node.await_log("node.draining", streams=1)
        if side == "exporter":
            # The importer is told; one that is just up gives other exporters some seconds to come.
            until(lambda: pair.importer.service("echo").state == "down", GRACE_S, "the service is withdrawn")
        assert nobody_is_let_in(pair.door("echo"))
        client.sendall(b"during")
        assert read_exactly(server, 6) == b"during"
        server.sendall(b"and back")
        assert read_exactly(client, 8) == b"and back"
        assert node.running
    begun = time.monotonic()
    left_silently(node, DRAIN_S)
    assert time.monotonic() - begun < PROMPT_S


def test_a_stream_that_does_not_end_is_cut_when_the_time_is_up(pair: Line) -> None:
    for node in pair.nodes:
        node.spawn("--drain", "1")
    for node in pair.nodes:
        node.await_ready()
    pair.stage.await_well()
    with wire(pair) as (client, server):
        begun = time.monotonic()
        os.kill(pair.importer.pid, signal.SIGTERM)
        left_silently(pair.importer, 1 + PROMPT_S, streams=1)
        assert 1 <= time.monotonic() - begun < 1 + PROMPT_S
        # Cut is not ended: both applications see a reset, the far one at once too.
        for end in (client, server):
            end.settimeout(PROMPT_S)
            with pytest.raises(ConnectionResetError):
                end.recv(1)


def test_a_second_signal_ends_the_wait(pair: Line) -> None:
    pair.start()
    with wire(pair):
        os.kill(pair.exporter.pid, signal.SIGTERM)
        pair.exporter.await_log("node.draining")
        os.kill(pair.exporter.pid, signal.SIGTERM)
        left_silently(pair.exporter, PROMPT_S, streams=1)
