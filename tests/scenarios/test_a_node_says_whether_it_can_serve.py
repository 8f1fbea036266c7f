"""A node that loses one of two ways serves on and says what needs attention; one that loses both says that it fails."""

from __future__ import annotations

import subprocess
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
        until(lambda edge=edge: status(edge)[0] == 0, 10, f"{edge} is ready")
        assert edge.asked("/readyz") == (200, "ok\n")
    lost = pair.used()
    lost.kill()
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 4, 10, f"{edge} is degraded")
        code, text = edge.asked("/readyz")
        assert (code, text.splitlines()[0]) == (200, "degraded")
        told = status(edge)[1]
        assert ", degraded, up for" in told
        assert f"! The link to {lost.dotted} over internet is " in told
        assert edge.metrics()["ready"] == edge.metrics()["degraded"] == 1
    next(relay for relay in pair.relays if relay is not lost).kill()
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 3, 10, f"{edge} fails")
        code, text = edge.asked("/readyz")
        assert (code, text.splitlines()[0]) == (503, "failing")
        assert edge.metrics()["ready"] == edge.metrics()["degraded"] == 0
    for relay in pair.relays:
        relay.start()
    for edge in edges:
        until(lambda edge=edge: status(edge)[0] == 0, 30, f"{edge} is ready again")
