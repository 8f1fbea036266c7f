"""Dates keep no node from running: a clock of 1970, and a list that runs out, are seen everywhere, and then heal."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.scenarios.kit.clocked import Clocked
from tests.scenarios.kit.echo_witness import Echo
from tests.scenarios.kit.nodes import Stage
from tests.scenarios.kit.reload_setup import Scene, applications, command, reload
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

FAILING, DEGRADED = 3, 4


def test_a_node_runs_though_its_dates_are_wrong(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        scene = Scene(stage, 1)
        clock = Clocked(scene.kent, tmp_path)
        clock.set(-int(time.time()) + 1000)
        assert command("check", "-c", scene.kent.config).returncode == 0, "by this machine's own clock all is well"
        stage.start()
        scene.kent.await_log("certificate.not_yet_valid", 20.0)
        until(lambda: scene.kent.status().condition == "failing", 20, "the node knows that it is in trouble")
        assert command("status", "-c", scene.kent.config).returncode == FAILING
        assert "Set the clock of this machine" in command("status", "-c", scene.kent.config).stdout
        assert scene.kent.asked("/readyz")[0] == 503
        assert "\npcgrelay_ready 0.0\n" in scene.kent.asked("/metrics")[1]
        # The clock is set: nothing else has to be done. The entry is signed by the new clock at once.
        clock.set(0)
        stage.await_well(seconds=60.0)
        with Echo(scene.target), applications(scene.door, 1) as witnesses:
            witnesses[0].check()
        _the_list_runs_out(stage, scene)


def _the_list_runs_out(stage: Stage, scene: Scene) -> None:
    kent, relay = scene.kent, scene.relays[0]
    stage.pki.authority.renew_crl(days=1)
    clock = Clocked(relay, kent.config.parent)
    relay.stop()
    clock.set(86_400 - 3_600)
    relay.start()
    relay.await_log("crl.ending", 20.0)
    until(lambda: relay.status().condition == "degraded", 20, "the list is nearly over")
    assert command("status", "-c", relay.config).returncode == DEGRADED
    clock.set(86_400 + 3_600)
    relay.await_log("crl.expired", 20.0)
    until(lambda: relay.status().condition == "failing", 20, "the list is over")
    assert "\npcgrelay_crl_next_update_timestamp_seconds " in relay.asked("/metrics")[1]
    # Neither a restart nor a reload is refused for it, and a new list heals.
    relay.stop()
    relay.start()
    assert reload(relay).ok
    assert relay.status().condition == "failing"
    stage.pki.authority.renew_crl(days=30)
    assert reload(relay).ok
    for edge in (scene.kent, scene.met):
        relay.await_log("link.up", 60.0, peer=edge.dotted)
    assert not [date for date in relay.status().credentials.dates if date.is_grave]
