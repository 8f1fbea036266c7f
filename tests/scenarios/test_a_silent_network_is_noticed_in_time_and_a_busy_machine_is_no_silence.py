"""A network that drops everything without a word is noticed by probes, as soon as the configuration says; and a machine
without a free processor is not taken for one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.scenarios.kit.reload_setup import reload
from tests.scenarios.kit.steady_streams import flowing
from tests.scenarios.kit.two_relays import Pair, paired
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

# Probe interval in milliseconds, and the seconds within which silence is noticed. Measured are 2.05 and 0.35; the rest
# is for a machine that stands still meanwhile, and less than the other interval takes.
INTERVALS = {500: 5.0, 75: 1.5}
TRIES = 3
BUSY = 4  # processes that take all they get, on whatever processors there are


@pytest.fixture(scope="module", params=[pytest.param(500, marks=pytest.mark.tier_all), 75])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with paired(tmp_path_factory.mktemp("pair"), probe_interval_ms=request.param) as made:
        yield made


def noticed_s(pair: Pair, wall: float, seen: int) -> float:
    """How long after that time the edge called its lane silent."""
    until(lambda: len(pair.met.log("lane.down", reason="silent")) > seen, 20, "silence is noticed")
    line = pair.met.log("lane.down", reason="silent")[seen]
    return datetime.fromisoformat(line["ts"]).timestamp() - wall


def test_silence_is_noticed(pair: Pair, figure: Callable[[str], None]) -> None:
    """Each time at the relay that leads the streams; these go on over the other."""
    took: list[float] = []
    with flowing(pair.door, pair.target) as streams:
        for _ in range(TRIES):
            relay, seen = pair.used(), len(pair.met.log("lane.down", reason="silent"))
            wall = time.time()
            with pair.network.cut(*pair.ports_of(relay)):
                took.append(noticed_s(pair, wall, seen))
                until(lambda relay=relay: pair.met.service("echo").routes and pair.used() is not relay, 20, "moved")
            for stream in streams:
                stream.check()
            pair.stage.await_well(seconds=30)
    figure(f"probes of {pair.interval_ms} ms: silence noticed after {', '.join(f'{s * 1000:.0f}' for s in took)} ms")
    assert max(took) < INTERVALS[pair.interval_ms]


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Leave no processor free."""
    with ExitStack() as stack:
        for _ in range(processes):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
            stack.callback(process.kill)
        yield


def test_a_busy_machine_is_no_silence(
    pair: Pair, figure: Callable[[str], None], request: pytest.FixtureRequest
) -> None:
    """No lane is given up for want of a processor: probes come from the native core, which needs little of it."""
    seconds = request.config.getoption("--saturated")
    seen = [len(node.log("lane.down")) for node in pair.stage.nodes.values()]
    with flowing(pair.door, pair.target, pace_bytes=1 << 20) as streams, busy(BUSY):
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > seconds, seconds + 5, "so long nothing was free")
        for stream in streams:
            stream.check()
    lost = [line for node, n in zip(pair.stage.nodes.values(), seen, strict=True) for line in node.log("lane.down")[n:]]
    figure(f"probes of {pair.interval_ms} ms: {len(lost)} lanes given up in {seconds:g} s without a free processor")
    assert not lost


def test_a_machine_that_stood_still_is_no_silence(pair: Pair) -> None:
    """All nodes stop for longer than silence may last, as on a machine that was suspended: none blames another."""
    seen = [len(node.log("lane.down")) for node in pair.stage.nodes.values()]
    with flowing(pair.door, pair.target, pace_bytes=1 << 20) as streams:
        with ExitStack() as stack:
            for node in pair.stage.nodes.values():
                stack.enter_context(node.frozen())
            begun = time.monotonic()
            until(lambda: time.monotonic() - begun > 6 * pair.interval_ms / 1000, 10, "they stood still")
        for stream in streams:
            stream.check()
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 2 * pair.interval_ms / 1000, 10, "a tick has passed")
    for node, before in zip(pair.stage.nodes.values(), seen, strict=True):
        assert node.log("lane.down")[before:] == []


@pytest.mark.tier_all
def test_both_ends_may_probe_at_a_pace_of_their_own(tmp_path: Path) -> None:
    """Whoever asks more often hears its own answers more often, and neither end takes the other for silent."""
    with paired(tmp_path, probe_interval_ms=75) as pair:
        text = pair.met.config.read_text().replace("probe_interval_ms = 75", "probe_interval_ms = 2000")
        pair.met.config.write_text(text)
        with flowing(pair.door, pair.target, up=1, down=0) as streams:
            # A running node takes it too.
            assert "policy.probe_interval_ms changed" in reload(pair.met).changes
            begun = time.monotonic()
            until(lambda: time.monotonic() - begun > 1.5, 5, "five times as long as silence may last at the relays")
            streams[0].check()
        for node in pair.stage.nodes.values():
            assert not node.log("lane.down")
