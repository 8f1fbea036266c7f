"""All refusals of a node in one sum, and after a hand-over none of them twice."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pcgrelay.gateway.refused import RefusalCounts
from pcgrelay.services.counts import StreamCounts


class FakePlane:
    def counters(self) -> dict[str, int]:
        return {"refused_bad_tag_total": 2, "refused_silent_total": 0, "opened_total": 7}


def test_refusals_of_all_parts_and_of_the_core_are_summed_by_reason() -> None:
    plane: Any = FakePlane()
    refused = RefusalCounts(plane, lambda: {"unknown_message": 3})
    refused.register("neighbours", Counter(silent=1, failure=1))
    refused.register("sessions", Counter(failure=4))
    assert refused.total() == {"silent": 1, "failure": 5, "unknown_message": 3, "bad_tag": 2}


def test_refused_streams_are_handed_over_twice_and_counted_once() -> None:
    plane: Any = FakePlane()
    old, new = StreamCounts(), StreamCounts()
    old.refused_total["stream_busy"] = 5
    old.closed_total["done"] = 9
    before, after = RefusalCounts(plane, dict), RefusalCounts(plane, dict)
    before.register("streams", old.refused_total)
    after.register("streams", new.refused_total)
    after.restore(before.to_handover())
    new.restore(old.to_handover(), (), ())
    assert after.total() == before.total() == {"stream_busy": 5, "bad_tag": 2}
    assert new.refused_total == {"stream_busy": 5}
    assert new.closed_total == {"done": 9}
