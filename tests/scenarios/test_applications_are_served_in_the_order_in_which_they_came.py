"""Several connections one after another: the target sees them in the same order, as it would without gateways."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Line, Stage, line
from tests.scenarios.kit.socket_steps import accepted, bind_listener, connect, read_exactly

pytestmark = pytest.mark.tier_test

COUNT = 20


def test_when_the_path_is_there(path: Line) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(bind_listener(path.target("echo")))
        clients = [stack.enter_context(connect(path.door("echo"))) for _ in range(COUNT)]
        for number, client in enumerate(clients):
            client.sendall(b"%02d" % number)
        heard = [read_exactly(stack.enter_context(accepted(server)), 2) for _ in range(COUNT)]
    assert heard == [b"%02d" % number for number in range(COUNT)]
    path.await_quiet()


def test_when_they_came_before_the_rest_of_the_realm(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage, ExitStack() as stack:
        made = line(stage, "edge-relay-edge", ["echo"])
        made.importer.start()
        server = stack.enter_context(bind_listener(made.target("echo")))
        clients = [stack.enter_context(connect(made.door("echo"))) for _ in range(COUNT)]
        for number, client in enumerate(clients):
            client.sendall(b"%02d" % number)
        assert made.importer.service("echo").state == "waiting"
        stage.start(*made.relays, made.exporter)
        heard = [read_exactly(stack.enter_context(accepted(server)), 2) for _ in range(COUNT)]
    assert heard == [b"%02d" % number for number in range(COUNT)]
