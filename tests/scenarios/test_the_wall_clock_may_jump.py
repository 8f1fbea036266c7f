"""The time of day jumps forward and back at one node: deadlines do not care, and only certificates follow it."""

from __future__ import annotations

import glob
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo, counts
from tests.scenarios.kit.nodes import Node, Stage
from tests.scenarios.kit.reload_setup import Scene, applications, reload
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

JUMPS_S = (3_600, -3_600, 30)
HARM_S = 1.2  # longer than whatever looks at certificates and entries once a second
BEYOND_S = 400 * 86_400
UNDISTURBED_S = 1.0
EXPIRED_S = 5.0


def library() -> str:
    """Where Debian has the library that tells a process another time."""
    found = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    assert found, "libfaketime is missing; run: scripts/setup test"
    return found[0]


class Clocked:
    """A node whose time of day the test sets."""

    def __init__(self, node: Node, folder: Path) -> None:
        self.node = node
        self._file = folder / f"{node.name}.clock"
        self.set(0)
        node.environment = {
            "LD_PRELOAD": library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, offset_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        fresh.replace(self._file)

    def jump(self, offset_s: int) -> None:
        """Set it, and wait until the node stamps its lines by it."""
        self.set(offset_s)
        # Before its own certificate is valid it refuses to reload, and says so by the same clock.
        reload(self.node)
        line = [line for line in self.node.log() if line["event"] in ("config.reloaded", "config.refused")][-1]
        assert abs(datetime.fromisoformat(line["ts"]).timestamp() - time.time() - offset_s) < 5


def test_the_wall_clock_may_jump(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with Stage(tmp_path) as stage:
        scene = Scene(stage, 1)
        clocks = [Clocked(node, tmp_path) for node in scene.nodes]
        stage.start()
        stage.await_well()
        with Echo(scene.target):
            with applications(scene.door, 2) as witnesses:
                for clock in clocks:
                    for jump_s in (*JUMPS_S, 0):
                        clock.jump(jump_s)
                        begun = time.monotonic()
                        until(lambda begun=begun: time.monotonic() - begun > HARM_S, 5, "time for harm has passed")
                        for witness in witnesses:
                            witness.check()
                worst_s = max(witness.worst_s for witness in witnesses)
            for node in scene.nodes:
                for event in ("lane.down", "link.down", "session.stalled", "session.down", "catalogue.refused"):
                    assert not node.log(event), (node, event)
                assert not counts(node).get("rekeys_total", 0)
            assert worst_s < UNDISTURBED_S
            # A certificate that has run out by this clock is one that has run out.
            begun = time.monotonic()
            clocks[0].set(BEYOND_S)
            clocks[0].node.await_log("link.down", 10.0, reason="expired")
            expired_s = time.monotonic() - begun
            assert expired_s < EXPIRED_S
    figure(f"longest wait {worst_s * 1000:.0f} ms; expired {expired_s:.1f} s after the jump")
