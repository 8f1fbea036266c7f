"""What the process that comes refuses before the other one has stopped anything."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.daemon.handover.channel import Channel, ChannelBroken, Offer, Ready, Refusal, handover_path
from pcgrelay.daemon.handover.new_process import take_over
from pcgrelay.daemon.run import make_node
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.gateway.handover import common_facts
from pcgrelay.gateway.node import Node
from pcgrelay.log.writer import Log
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, Nodes
from tests.support.ports import free_port


@pytest.fixture
def node(tmp_path: Path) -> Node:
    path = Nodes(tmp_path).write(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"])
    return make_node(config.load(path), fake_core, Log("debug", io.StringIO()))


def offer(of: Node, **changes: Any) -> Offer:
    whole: dict[str, Any] = {
        "record": 1,
        "handover": 1,
        "node": common_facts(of),
        "used_bytes": 1,
        "descriptors": 20,
    }
    return Offer(**{**whole, **changes})


async def answered(node: Node, said: Offer | Refusal) -> tuple[str, str]:
    """What this process says in the end, and what it told the other one, which says this first."""
    path = handover_path(node.config.node.admin)
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            sock, _ = server.accept()
            channel = Channel(sock)
            channel.send(said, 5)
            with suppress(ChannelBroken):
                try:
                    channel.receive(Ready, 5)
                    heard.append("ready")
                except ChannelBroken as broken:
                    heard.append(str(broken))
            channel.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(RunError) as caught:
            await take_over(node)
        await asyncio.to_thread(thread.join)
    return str(caught.value), heard[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"record": 0}, "of a version whose state this one does not read; restart it instead"),
        ({"record": 2}, "of a version whose state this one does not read; restart it instead"),
        ({"handover": 99}, "of a version whose state this one does not read; restart it instead"),
        ({"used_bytes": 1 << 60}, "node.memory is less than the running node uses now; give it more"),
    ],
)
async def test_what_does_not_fit_is_refused_and_told(node: Node, changes: dict[str, Any], words: str) -> None:
    sentence, told = await answered(node, offer(node, **changes))
    assert words in sentence
    assert sentence.endswith("; the running node goes on.")
    assert words in told


@pytest.mark.parametrize("key", ["name", "organisation", "realm", "role", "workers"])
async def test_another_node_is_not_taken_over(node: Node, key: str) -> None:
    sentence, told = await answered(node, offer(node, node={**common_facts(node), key: "another"}))
    assert f"node.{key} has changed, which needs a restart" in sentence
    assert f"node.{key} has changed" in told


async def test_a_limit_of_open_files_that_is_too_low_is_told(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    sentence, _ = await answered(node, offer(node, descriptors=4_090))
    assert "the running node has 4090 open files, and this process may have 4096" in sentence.lower()


async def test_a_refusal_of_the_running_node_is_told(node: Node) -> None:
    sentence, _ = await answered(node, Refusal(reason="it drains; undo that first"))
    assert sentence == "The running node was not taken over: it drains; undo that first."


async def test_an_offer_of_what_is_no_port_is_refused(node: Node) -> None:
    sentence, _ = await answered(node, offer(node, listens=("nowhere",)))
    assert sentence == "The running node was not taken over: it offers what cannot be read."


async def test_where_nobody_waits_nothing_is_taken(node: Node) -> None:
    with pytest.raises(RunError, match="no node runs here"):
        await take_over(node)


async def test_a_node_of_another_user_is_not_taken_over(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(handover_path(node.config.node.admin)))
        server.listen()
        mine: Callable[[], int] = os.geteuid
        monkeypatch.setattr(os, "geteuid", lambda: mine() + 1)
        with pytest.raises(PermissionProblem, match="runs as another user"):
            await take_over(node)
