"""Many streams at once: the busy ones are checked byte by byte, and the idle ones are as good as new afterwards."""

from collections.abc import Callable

import pytest

from tests.scenarios.kit.bulk_clients import Crowd
from tests.scenarios.kit.nodes import Line
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

IDLE, BUSY, TURNS = 2_000, 500, 20


def test_each_hears_its_own_words(path: Line, figure: Callable[[str], None]) -> None:
    edges = (path.importer, path.exporter)
    path.await_quiet()
    before = [node.memory.pss_bytes for node in edges]
    with (
        Crowd.of("serve", *path.target("echo")),
        Crowd.of("mixed", *path.door("echo"), IDLE, BUSY, TURNS) as clients,
    ):
        until(lambda: path.streams() == 2 * (IDLE + BUSY), what="all streams are open at both edges")
        each = [(node.memory.pss_bytes - past) / (IDLE + BUSY) for node, past in zip(edges, before, strict=True)]
        found = clients.go()
        status = [node.status() for node in path.nodes]
    assert found["wrong"] == 0
    assert all(one.memory.high_water_bytes <= one.memory.budget_bytes for one in status)
    path.await_quiet()
    rate = BUSY * TURNS / found["seconds"]
    figure(f"{rate:.0f} exchanges of 4 KiB a second; {max(each) / 1024:.1f} KiB of an edge's memory for each stream")
