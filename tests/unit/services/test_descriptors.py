"""How many streams there may be: by descriptors, by the configuration, and told when a service has all of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pcgrelay.net.descriptors import descriptors_of_streams
from pcgrelay.services.descriptors import streams_most
from tests.support import fake_core
from tests.support.nodes_in_process import KENT, MET, Nodes, dial, entry, export, is_live, relays
from tests.support.waiting import until_async as until

LIMITS = {
    "max_streams": 7,
    "max_streams_per_organisation": 2,
    "new_streams_per_second": 5,
    "idle_timeout_s": 60,
    "max_duration_s": 3_600,
}


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    nodes = Nodes(tmp_path)
    yield nodes
    await nodes.stop()


@pytest.mark.parametrize("limit", [64, 256, 1_024, 4_096, 20_000, 524_288, 1 << 20])
def test_four_services_have_room(limit: int) -> None:
    streams = descriptors_of_streams(limit)
    # Four services together take no more than there are; what the configuration says holds.
    assert 4 * streams_most(0, streams) <= streams
    assert 4 * 2 * streams_most(0, streams, direct=True) <= streams
    assert streams_most(7, streams) == streams_most(7, streams, direct=True) == 7


async def test_services_are_bounded_and_say_when_they_are_full(nodes: Nodes) -> None:
    ((_, port),) = await relays(nodes, 1)
    policy = {"max_streams_per_organisation": 9, "new_streams_per_second": 30}
    kent = await nodes.start(KENT, "kent-1", links=[dial(1, port)], exports=[{**export(), **LIMITS}], policy=policy)
    met = await nodes.start(MET, "met-1", links=[dial(1, port)], imports=[entry()])
    await until(lambda: is_live(met))
    assert list(kent.core.bounds_set["exports"].values()) == [[7, 2, 5, 60, 3_600, 0]]
    assert kent.core.bounds_set["organisation"] == (9, 30)
    descriptors = kent.core.bounds_set["descriptors"]
    assert list(met.core.bounds_set["imports"].values()) == [[descriptors // 4, 0, 0, 0, 0, 0]]
    (number,) = kent.core.bounds_set["exports"]
    session = next(iter(kent.core.session_table))
    for _ in range(50):
        kent.core.emit(
            fake_core.EVENT_STREAM_END, False, number, session, b"custody", 0, 0, 0, 2, "limit", 0xFFFF, False
        )
    await until(lambda: kent.lines("service.full"))
    assert len(kent.lines("service.full")) <= 5
    assert kent.lines("service.full")[0]["service"] == f"custody@{KENT}"
    # What one organisation has used up is told with its name.
    kent.core.emit(
        fake_core.EVENT_STREAM_END, False, number, session, b"custody", 0, 0, 0, 2, "rate-limit", 0xFFFF, False
    )
    await until(lambda: any(line["limit"] == "rate-limit" for line in kent.lines("service.full")))
    assert kent.lines("service.full")[-1]["organisation"] == MET
