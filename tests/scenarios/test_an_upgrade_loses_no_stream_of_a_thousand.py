"""A thousand streams in transfer while a node of their way is upgraded: no reset, no byte wrong, a short silence.

With --upgrades=50 each node is upgraded fifty times.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.scenarios.kit.latency_load import Crowd
from tests.scenarios.kit.nodes import HOST, Node, Stage
from tests.scenarios.kit.reload_setup import Scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

STREAMS = 1_000
# A client would notice this; what an upgrade takes is the figure, and goes by how crowded the machine is.
SILENCE_S = 1.0
CROWD = Path(__file__).with_name("kit") / "bulk_clients.py"


@contextmanager
def echo(port: int) -> Iterator[None]:
    command = [sys.executable, str(CROWD), "serve", HOST, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    "which", ["met", *(pytest.param(which, marks=pytest.mark.tier_all) for which in ("relay", "kent"))]
)
def test_a_thousand_streams_notice_no_upgrade(
    tmp_path: Path, which: str, request: pytest.FixtureRequest, figure: Callable[[str], None]
) -> None:
    upgrades = request.config.getoption("--upgrades")
    worst: list[float] = []
    with Stage(tmp_path) as stage:
        realm = Scene(stage, relays=1)
        stage.start()
        stage.await_well()
        node: Node = realm.relays[0] if which == "relay" else getattr(realm, which)
        with echo(realm.target[1]), Crowd.of(realm.door, STREAMS) as crowd:
            crowd.look()
            for _ in range(upgrades):
                done = node.upgrade()
                assert done.returncode == 0, done.stderr
                stage.await_well()
                seen = crowd.look()
                assert (seen["wrong"], seen["resets"]) == (0, 0)
                assert seen["exchanges"] > STREAMS
                worst.append(seen["worst_s"])
            last = crowd.end()
            assert (last["wrong"], last["resets"]) == (0, 0)
        for edge in (realm.met, realm.kent):
            until(lambda edge=edge: edge.status().streams.active == 0)  # type: ignore[misc]
            until(lambda edge=edge: len(edge.log("stream.end", code="done")) == STREAMS)  # type: ignore[misc]
            assert edge.status().streams.closed_total == {"done": STREAMS}
    p50, most = statistics.median(worst) * 1000, max(worst) * 1000
    figure(f"{upgrades} upgrades of {which}: the longest silence was {p50:.0f} ms (p50), {most:.0f} ms (most)")
    assert most < SILENCE_S * 1000
