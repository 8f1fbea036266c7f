"""A node that loses one of two ways serves on and says what needs attention; one that loses both says that it fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.scenarios.kit.nodes import PCGRELAY, Node
from tests.scenarios.kit.two_relays import Pair, paired
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with paired(tmp_path) as made:
        yield made


def status(node: Node) -> tuple[int, str]:
    told = subprocess.run([PCGRELAY, "status", "-c", node.config], capture_output=True, text=True, check=False)
    assert told.stderr == ""
    return told.returncode, told.stdout


def test_a_node_says_whether_it_can_serve(pair: Pair) -> None:
    edges = (pair.met, pair.kent)
    for edge in edges:
        until(lambda edge=edge: edge.status().condition == "ready", 10, f"{edge} is ready")
        assert status(edge)[0] == 0
        assert edge.asked("/readyz") == (200, "ok\n")
    lost = pair.used()
    lost.kill()
    for edge in edges:
        until(lambda edge=edge: edge.status().condition == "degraded", 10, f"{edge} is degraded")
        code, text = edge.asked("/readyz")
        assert (code, text.splitlines()[0]) == (200, "degraded")
        code, told = status(edge)
        assert code == 4
        assert ", degraded, up for" in told
        assert f"! The link to {lost.dotted} over internet is " in told
        assert edge.metrics()["ready"] == edge.metrics()["degraded"] == 1
    next(relay for relay in pair.relays if relay is not lost).kill()
    for edge in edges:
        until(lambda edge=edge: edge.status().condition == "failing", 10, f"{edge} fails")
        assert status(edge)[0] == 3
        code, text = edge.asked("/readyz")
        assert (code, text.splitlines()[0]) == (503, "failing")
        assert edge.metrics()["ready"] == edge.metrics()["degraded"] == 0
    for relay in pair.relays:
        relay.start()
    for edge in edges:
        until(lambda edge=edge: edge.status().condition == "ready", 30, f"{edge} is ready again")
        assert status(edge)[0] == 0


@pytest.mark.tier_all
def test_two_processes_under_one_name_are_told_at_both_and_at_their_relays(pair: Pair) -> None:
    """As after a machine was copied. Each process is linked to both relays."""
    kent = pair.kent
    copied = kent.config.with_name("copied.toml")
    copied.write_text(kent.config.read_text().replace(str(kent.admin), str(copied.with_suffix(".sock"))))
    twin = Node(kent.organisation, kent.name, copied)
    twin.start()
    try:
        began = time.monotonic()
        told = (kent, twin, *pair.relays)
        for node in told:
            until(lambda node=node: node.log("identity.twins"), 20, f"{node} tells of twins")
        # Within 5 s on a machine that has nothing else to do.
        assert time.monotonic() - began < 15
        for node in told:
            assert [line["peer"] for line in node.log("identity.twins")] == [kent.dotted]
            whose = "this node's identity" if node in (kent, twin) else f"the identity of {kent.dotted}"
            assert f"! Two processes bear {whose}; stop the one that should not run." in status(node)[1]
            assert node.metrics()["identity_twins"] == 1
    finally:
        twin.kill()
    for node in (kent, *pair.relays):
        until(lambda node=node: node.status().condition == "ready", 30, f"{node} is ready again")
