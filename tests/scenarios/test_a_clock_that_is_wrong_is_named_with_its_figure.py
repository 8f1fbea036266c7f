"""A relay's clock is 29 minutes ahead: the relay and both edges say so, in log, status and metrics, with the figure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.scenarios.kit.clocked import Clocked
from tests.scenarios.kit.nodes import Node, Stage
from tests.scenarios.kit.reload_setup import Scene
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

AHEAD_S = 29 * 60
NEAR_S = 20  # the machine may be slow; the warning begins at 30 s


def figure(node: Node, peer: str) -> float | None:
    name = re.escape(peer)
    found = re.search(rf'^pcgrelay_clock_skew_seconds{{peer="{name}"}} (\S+)$', node.asked("/metrics")[1], re.M)
    return float(found[1]) if found else None


def test_a_clock_that_is_wrong_is_named_with_its_figure(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        scene = Scene(stage, 1)
        (relay,) = scene.relays
        clock = Clocked(relay, tmp_path)
        clock.set(AHEAD_S)
        stage.start()
        for edge in (scene.kent, scene.met):
            line = edge.await_log("clock.skew", 30.0, peer=relay.dotted)
            assert abs(line["skew_s"] - AHEAD_S) < NEAR_S
            line = relay.await_log("clock.skew", 30.0, peer=edge.dotted)
            assert abs(line["skew_s"] + AHEAD_S) < NEAR_S
            told = figure(edge, relay.dotted)
            assert told is not None
            assert abs(told - AHEAD_S) < NEAR_S
            until(lambda edge=edge: edge.status().condition == "degraded", 20, f"{edge} is linked, and degraded")
        # What is wrong is this machine's own, for everybody else's is as far off.
        until(lambda: len([each for each in relay.status().clocks if each.large]) == 2, 20, "the relay knows both")
        until(lambda: relay.status().condition == "degraded", 20, "the relay is degraded")
        # It is set right: the relay itself knows at once that the others are as it is.
        clock.set(0)
        until(lambda: not any(each.large for each in relay.status().clocks), 20, "all clocks agree at the relay")
