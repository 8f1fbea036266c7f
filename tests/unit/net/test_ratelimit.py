"""The token bucket that limits every rate of the control plane."""

from __future__ import annotations

import pytest

from pcgrelay.net.ratelimit import TokenBucket


@pytest.mark.parametrize("interval_ms", [500, 1_000, 3_000, 60_000])
def test_a_bucket_that_is_asked_all_the_time_gives_at_its_very_moment(interval_ms: int) -> None:
    bucket = TokenBucket(1, 1000 / interval_ms, 0)
    given = [now_ms for now_ms in range(2 * interval_ms + 1) if bucket.spend(now_ms)]
    assert given == [0, interval_ms, 2 * interval_ms]


def test_what_is_owed_may_pass_what_is_there() -> None:
    bucket = TokenBucket(100, 10, 0)
    assert bucket.owe(100, 0) == 0
    assert bucket.owe(1, 0) == 100
    assert not bucket.has(0, 0)
    assert bucket.is_whole(10_100)
