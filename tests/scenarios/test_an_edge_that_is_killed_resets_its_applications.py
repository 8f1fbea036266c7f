"""A killed edge loses the connections of its applications, and none of them may take that for a whole answer."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import Line, Stage, line
from tests.scenarios.kit.socket_steps import read_exactly, sequence, wire

pytestmark = pytest.mark.tier_test


@pytest.fixture
def direct(tmp_path: Path) -> Iterator[Line]:
    with Stage(tmp_path) as stage:
        made = line(stage, "edge-edge", ["echo"])
        made.start()
        yield made


@pytest.mark.parametrize("killed", ["importer", "exporter"])
def test_in_the_middle_of_an_answer(direct: Line, killed: str) -> None:
    with wire(direct) as (client, server):
        answer = sequence(100_000, killed)
        server.sendall(answer)
        client.sendall(b"question")
        assert read_exactly(client, len(answer)) == answer
        assert read_exactly(server, 8) == b"question"
        # Nothing is under way and nothing unread, so that only the end itself can say what it is.
        near: socket.socket = client if killed == "importer" else server
        getattr(direct, killed).kill()
        with pytest.raises(ConnectionResetError):
            near.recv(1)


def test_an_orderly_end_is_still_one(direct: Line) -> None:
    with wire(direct) as (client, server):
        server.sendall(b"answer")
        server.shutdown(socket.SHUT_WR)
        assert read_exactly(client, 6) == b"answer"
        assert client.recv(1) == b""
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
    direct.await_quiet()
