"""Tasks of a node that are cancelled before they have begun: nothing of them stays open."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.gateway.tasks import spawn
from pcgrelay.log.events import Failure, Record
from tests.support.nodes_in_process import HUB, KENT, Nodes, dial, export
from tests.support.ports import free_port


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def test_an_exception_is_logged_and_goes_no_further() -> None:
    told: list[Record] = []

    async def fail() -> None:
        raise OSError("no")

    await spawn(fail(), "here", told.append)
    assert told == [Failure(where="here", error="OSError")]


async def test_work_that_was_cancelled_before_it_began_is_closed() -> None:
    begun = False

    async def work() -> None:
        nonlocal begun
        begun = True

    coroutine = work()
    task = spawn(coroutine, "here", lambda record: None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not begun
    assert coroutine.cr_frame is None, "it is still to be awaited"


@pytest.mark.parametrize("role", ["relay", "edge"])
async def test_a_node_that_is_stopped_as_soon_as_it_started_leaves_nothing(nodes: Nodes, role: str) -> None:
    port = free_port()
    listens = [f"127.0.0.1:{port}"]
    metrics = {"listen": f"127.0.0.1:{free_port()}"}
    if role == "relay":
        running = await nodes.start(HUB, "relay-1", role="relay", listens=listens, metrics=metrics)
    else:
        links = [dial(1, free_port())]
        running = await nodes.start(KENT, "kent-1", links=links, listens=listens, exports=[export()], metrics=metrics)
    (listener,) = running.node.listeners.sockets().values()
    await running.node.stop()
    assert listener.fileno() == -1
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=5):
        pass
    # Whatever was forgotten, a coroutine or a socket, is a warning now, and so an error.
    gc.collect()
