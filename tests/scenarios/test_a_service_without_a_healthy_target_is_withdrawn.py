"""Edges try their targets: a service whose target does not answer is withdrawn, and is back when it is well."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.nodes import HOST, Address
from tests.scenarios.kit.reload_setup import Scene, applications, command, reload, scene
from tests.scenarios.kit.socket_steps import refused_after
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

INTERVAL_MS = 200


@dataclass
class Probed:
    scene: Scene
    target: Address
    door: Address


@pytest.fixture
def probed(tmp_path: Path) -> Iterator[Probed]:
    with scene(tmp_path) as made:
        # Beside the target that is always there, one that comes and goes.
        target, door = (HOST, free_port()), (HOST, free_port())
        export = made.export("probed", target=host_port(target[1]), probe="connect", probe_interval_ms=INTERVAL_MS)
        made.change(made.kent, exports=[made.export("echo"), export])
        made.change(made.met, imports=[made.entry("echo", made.door), made.entry("probed", door)])
        with Echo(target):
            assert reload(made.kent).ok
            assert reload(made.met).ok
            until(lambda: made.kent.service("probed").health == "ok", 20)
            until(lambda: made.met.service("probed").state == "ready", 20)
        yield Probed(made, target, door)


def test_a_target_that_goes_and_comes(probed: Probed, figure: Callable[[str], None]) -> None:
    with applications(probed.scene.door, 1):
        began = time.monotonic()
        until(lambda: probed.scene.met.service("probed").state == "down", 20, "the service is withdrawn")
        down_s = time.monotonic() - began
        exported = probed.scene.kent.service("probed")
        assert (exported.state, exported.health, exported.present) == ("down", "failing", False)
        assert probed.scene.met.service("probed").health == "failing"
        # Applications are told at once, not after a time-out at a target that is not there.
        assert refused_after(probed.door) < 1
        probed.scene.kent.await_log("target.failing", service=exported.name)
        with Echo(probed.target):
            began = time.monotonic()
            until(lambda: probed.scene.met.service("probed").state == "ready", 20, "the service is back")
            up_s = time.monotonic() - began
            probed.scene.kent.await_log("target.well", service=exported.name)
            with applications(probed.door, 1):
                pass
    figure(f"withdrawn within {down_s:.1f} s, back within {up_s:.1f} s, at an interval of {INTERVAL_MS} ms")


def test_status_says_so_in_its_json(probed: Probed) -> None:
    until(lambda: probed.scene.kent.service("probed").health == "failing", 20)
    done = command("status", "-c", probed.scene.kent.config, "--json")
    assert done.returncode == 3
    services = {service["name"]: service for service in json.loads(done.stdout)["services"]}
    assert services[f"probed@{probed.scene.kent.organisation}"]["health"] == "failing"
    assert services[f"echo@{probed.scene.kent.organisation}"]["health"] == "unknown"
