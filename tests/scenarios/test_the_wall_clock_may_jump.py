"""The time of day jumps forward and back at one node: deadlines do not care, and only certificates follow it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pcgrelay.admin.client import ask
from pcgrelay.admin.realm_answers import REALM_PATH, RealmAnswer
from tests.scenarios.kit.clocked import Clocked
from tests.scenarios.kit.echo_witness import Echo, counts
from tests.scenarios.kit.nodes import Node, Stage
from tests.scenarios.kit.reload_setup import Scene, applications
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

JUMPS_S = (3_600, -3_600, 30)
HARM_S = 1.2  # longer than whatever looks at certificates and entries once a second
BEYOND_S = 400 * 86_400
UNDISTURBED_S = 1.0
EXPIRED_S = 5.0
SETTLED_S = 60.0  # an edge tells its relays ten to twenty seconds after they are there


def edges_name_their_relays(node: Node, least: int) -> bool:
    """Whether it has the entries of at least so many edges, and each names its relays."""
    edges = ask(node.admin, "GET", REALM_PATH, RealmAnswer).edges
    return len(edges) >= least and all(edge.said for edge in edges)


def test_the_wall_clock_may_jump(tmp_path: Path, figure: Callable[[str], None]) -> None:
    with Stage(tmp_path) as stage:
        scene = Scene(stage, 1)
        clocks = [Clocked(node, tmp_path) for node in scene.nodes]
        stage.start()
        stage.await_well()
        # An entry that is signed anew while a clock is wrong is rightly refused by its dates.
        for node, least in ((scene.relays[0], 2), (scene.met, 1)):
            until(lambda node=node, least=least: edges_name_their_relays(node, least), SETTLED_S, "entries are settled")
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
