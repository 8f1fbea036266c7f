"""Whoever asks the other organisation about a connection names it, and both find one line."""

from typing import Any

import pytest

from tests.scenarios.kit.nodes import Line, Moment, Node
from tests.scenarios.kit.socket_steps import connect, read_exactly, reset, wire
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


def test_the_ends_of_streams_have_the_same_ids_at_both_edges(path: Line) -> None:
    before = [node.moment() for node in (path.importer, path.exporter)]
    for number in range(8):
        with wire(path) as (client, server):
            client.sendall(bytes(number + 1))
            assert read_exactly(server, number + 1) == bytes(number + 1)
            if number % 2:
                reset(server)
    path.await_quiet()
    near, far = (
        {line["id"]: line for line in until(lambda node=node, since=since: ends_of_eight(node, since))}
        for node, since in zip((path.importer, path.exporter), before, strict=True)
    )
    assert len(near) == 8
    assert near.keys() == far.keys()
    for name, line in near.items():
        assert line["sent_bytes"] == far[name]["received_bytes"]
        assert line["direction"] == "import"
        assert far[name]["direction"] == "export"
        assert line["started"] <= line["ts"]
        assert name.count("-") == 2


def ends_of_eight(node: Node, since: Moment) -> list[dict[str, Any]]:
    """All of them, or nothing while some are not told."""
    ends = node.log("stream.end", since)
    return ends if len(ends) >= 8 else []


def test_a_refused_one_has_the_same_id_too(path: Line) -> None:
    # The realm is not of this test alone: others may have been refused before.
    since = path.importer.moment()
    # Nobody listens at the target of this one.
    with pytest.raises(ConnectionResetError), connect(path.door("redis")) as client:
        client.recv(1)
    near = path.importer.await_log("stream.refused", after=since, direction="import")
    far = path.exporter.await_log("stream.refused", direction="export", id=near["id"])
    assert far["cause"] == "target-refused"
