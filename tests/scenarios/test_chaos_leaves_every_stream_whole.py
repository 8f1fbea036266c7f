"""A minute of chaos (`make chaos` for longer, and for another seed), and a gigabyte that outlives many relays."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.kit.bulk_clients import Crowd as Program
from tests.scenarios.kit.chaos import Crowd, Harm, await_rest, overlaps
from tests.scenarios.kit.steady_streams import Far
from tests.scenarios.kit.two_relays import paired
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

APPLICATIONS = 12
# A corrupted body ends its session; the other edge may learn of it when its streams have waited for nothing.
AFTERMATH_S = 35.0
STREAMS, EACH_MIB = 100, 10.24
KILL_EACH_S = 1.0


@pytest.mark.timeout(0)
def test_chaos(tmp_path: Path, figure: Callable[[str], None], request: pytest.FixtureRequest) -> None:
    seconds, seed = request.config.getoption("--chaos"), request.config.getoption("--chaos-seed")
    with paired(tmp_path, bad_line=True) as pair, Far(pair.target, 1 << 20):
        baseline = {node.name: node.descriptors for node in pair.stage.nodes.values()}
        crowd, harm = Crowd(pair.door, seed, APPLICATIONS), Harm(pair, seed)
        crowd.start()
        try:
            harm.go_on(seconds)
        finally:
            crowd.stop()
        stream_counts = crowd.stream_counts
        done = ", ".join(f"{count} {name}" for name, count in sorted(harm.done.items()))
        figure(
            f"seed {seed}, {seconds:g} s: {stream_counts.whole} streams whole ({stream_counts.sent_bytes >> 20} MiB), "
            f"{stream_counts.reset} reset, {stream_counts.refused} refused; {done}"
        )
        assert not stream_counts.faults
        assert stream_counts.whole > seconds
        # Only who changes what is sealed can end a stream that has begun.
        assert all(overlaps(lived, harm.corrupted, AFTERMATH_S) for lived in stream_counts.reset_at)
        await_rest(pair, baseline)
        for node in pair.stage.nodes.values():
            assert not node.log("node.failure")
            assert not node.log("events.lost")


@pytest.mark.tier_all
def test_a_gigabyte_on_a_hundred_streams_outlives_the_relays(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with paired(tmp_path) as pair, Program.of("give", *pair.target, int(EACH_MIB * (1 << 20))):
        with Program.of("take", *pair.door, STREAMS, int(EACH_MIB * (1 << 20))) as taking:
            taking.begin()
            kills = 0
            while not taking.is_done():
                began = time.monotonic()
                until(lambda began=began: taking.is_done() or time.monotonic() - began > KILL_EACH_S, 10, "a while")
                if taking.is_done():
                    break
                relay = pair.used()
                relay.kill()
                kills += 1
                relay.start()
                pair.stage.await_well(seconds=30)
            found = taking.found()
        figure(
            f"{STREAMS * EACH_MIB / 1024:.2f} GiB on {STREAMS} streams in {found['seconds']:.1f} s, "
            f"{kills} relays killed"
        )
        assert found["wrong"] == 0
        assert kills >= 1
