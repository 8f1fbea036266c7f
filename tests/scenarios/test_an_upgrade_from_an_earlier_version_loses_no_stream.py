"""Nodes of an earlier commit are upgraded to this code, one after the other, while streams cross all of them.

Between two upgrades nodes of both versions talk to each other, and renew their links and sessions.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.kit.earlier import ROOT, built, runs
from tests.scenarios.kit.echo_witness import received
from tests.scenarios.kit.nodes import Address, Line, Stage, line
from tests.scenarios.kit.reload_setup import reload
from tests.scenarios.kit.steady_streams import BLOCK, WAIT_S, blocks, flowing
from tests.support.waiting import until

pytestmark = [pytest.mark.tier_upgrade, pytest.mark.timeout(180)]

ORDERS = {
    "the relays first": ("relay-1", "relay-2", "kent-1", "met-1"),
    "the edges first": ("met-1", "kent-1", "relay-2", "relay-1"),
}
# As often as it may be, so that each pair of versions renews what it shares.
POLICY = {"renewal_interval_s": 2, "renewal_age_s": 60, "rekey_s": 3}
MORE_BLOCKS = 100


@pytest.fixture(scope="module")
def earlier(request: pytest.FixtureRequest) -> Path:
    return built(request.config)


def renewals(realm: Line) -> dict[str, int]:
    return {node.dotted: len(node.log("link.renewed") + node.log("session.renewed")) for node in realm.nodes}


@contextmanager
def connected(door: Address, first: bytes) -> Iterator[socket.socket]:
    """A stream that has carried something."""
    with socket.create_connection(door, WAIT_S) as sock:
        sock.settimeout(WAIT_S)
        sock.sendall(first)
        yield sock


@pytest.mark.parametrize("order", ORDERS)
def test_streams_go_on_while_every_node_is_upgraded(tmp_path: Path, earlier: Path, order: str) -> None:
    with Stage(tmp_path) as stage:
        realm = line(
            stage, "edge-relay-relay-edge", ["echo"], node_table={"workers": 2, "lanes": 2}, policy=dict(POLICY)
        )
        for node in realm.nodes:
            node.environment = {"PYTHONPATH": str(earlier / "src")}
        realm.start()
        assert all(runs(node, earlier) and not runs(node, ROOT) for node in realm.nodes)
        door = realm.door("echo")
        with (
            flowing(door, realm.target("echo"), up=3, down=3, pace_bytes=512 << 10) as streams,
            connected(door, b"e" + bytes(8) + b"quiet") as quiet,
            connected(door, b"d" + (77).to_bytes(8, "big")) as unread,
        ):
            assert received(quiet, 5) == b"quiet"
            by_name = {node.name: node for node in realm.nodes}
            for name in ORDERS[order]:
                done = by_name[name].upgrade(seconds=60)
                assert done.returncode == 0, done.stderr
                assert runs(by_name[name], ROOT)
                assert not runs(by_name[name], earlier)
                before = renewals(realm)
                until(
                    lambda before=before: all(count > before[at] for at, count in renewals(realm).items()),
                    60,
                    f"all nodes renew something after the upgrade of {name}",
                )
                for stream in streams:
                    stream.check()
            for node in realm.nodes:
                reload(node)
                assert len(node.log("config.reloaded")) >= 1
            stage.await_well(*realm.nodes)
            quiet.sendall(b"later")
            assert received(quiet, 5) == b"later"
            # What has waited for its reader since before the first upgrade, and what came after the last.
            whole = b"".join(block for block, _ in zip(blocks(77), range(MORE_BLOCKS), strict=False))
            assert received(unread, MORE_BLOCKS * BLOCK) == whole
            with connected(door, b"e" + bytes(8) + b"new") as fresh:
                assert received(fresh, 3) == b"new"
            for node in realm.nodes:
                # A new process makes links of its own beside those that it took. No session ended, and no stream
                # but the new one.
                assert not node.log("session.down"), node.log_text
                # Nobody took an old process and its heir for two machines.
                assert not node.log("identity.twins"), node.log_text
                assert len(node.log("stream.end")) <= 1, node.log("stream.end")
