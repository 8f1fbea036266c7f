"""Controls of a relay between two networks: what it leads and would lead, weak signatures, and a revoked identity."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import Echo, Witness, host_port
from tests.scenarios.kit.nodes import HOST, KENT, MET, Address, Node, Stage
from tests.scenarios.kit.reload_setup import command, reload
from tests.support.ports import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

CONTROLS = ("K2", "K6", "N5", "N7")
SENSITIVE = "OFFICIAL-SENSITIVE"
NAMED = {"transit": [["internet", "psn"]]}


def bearers(**markings: str) -> list[dict[str, str]]:
    return [{"name": name, "marking": marking} for name, marking in markings.items()]


class Between:
    """Kent is on the PSN and the Met on the internet; one relay is on both."""

    def __init__(self, stage: Stage, target: Address) -> None:
        self.stage = stage
        self.door = (HOST, free_port())
        self.ports = {"psn": free_port(), "internet": free_port()}
        self.revoked = stage.pki.issue("revoked.example", "revoked-1", revoked=True)
        self.relay = self.write()
        export = {"service": "echo", "target": host_port(target[1]), "allow": [MET], "marking": SENSITIVE}
        stage.node(KENT, "kent-1", links=[self.link("psn")], exports=[export])
        entry = {"service": f"echo@{KENT}", "listen": host_port(self.door[1])}
        self.met = stage.node(MET, "met-1", links=[self.link("internet")], imports=[entry])

    def link(self, bearer: str) -> dict[str, str]:
        return {"peer": "relay-1.hub.example", "address": host_port(self.ports[bearer]), "bearer": bearer}

    def write(self, policy: dict[str, Any] | None = None, psn: str = SENSITIVE) -> Node:
        listens = [{"address": host_port(port), "bearer": bearer} for bearer, port in self.ports.items()]
        return self.stage.relay(
            "relay-1",
            listens=listens,
            bearers=bearers(psn=psn, internet=SENSITIVE),
            policy={"relays": ["hub.example"], **(policy or {})},
            assure={"revoked": str(self.revoked.certificate)},
        )

    def results(self, tmp_path: Path) -> dict[str, tuple[str, str]]:
        profile = tmp_path / "profile.toml"
        profile.write_text(f'title = "t"\nreviewed = "2026-11"\ncontrols = {json.dumps(CONTROLS)}\n')
        done = command("assure", "run", "-c", self.relay.config, "--profile", profile, "--json")
        assert done.returncode in (0, 8), done.stdout + done.stderr
        return {each["id"]: (each["outcome"], each["observed"]) for each in json.loads(done.stdout)["results"]}


@pytest.fixture
def between(tmp_path: Path) -> Iterator[Between]:
    target = (HOST, free_port())
    with Stage(tmp_path / "realm") as stage, Echo(target):
        made = Between(stage, target)
        stage.start()
        stage.await_well(but=["echo"])
        yield made


def failing(found: dict[str, tuple[str, str]]) -> list[str]:
    return [id for id, (outcome, _) in found.items() if outcome != "passed"]


def test_what_nobody_named_is_refused_and_what_is_led_is_seen(between: Between, tmp_path: Path) -> None:
    found = between.results(tmp_path)
    assert failing(found) == [], found
    assert "a revoked identity is refused by its listener" in found["K6"][1]
    # Both edges are known by now, each from the other network.
    assert "0 paths across stand, and of 2 ways that it was asked for it refuses 2" in found["N5"][1]
    assert between.met.service("echo").state != "ready"

    between.write(NAMED)
    assert reload(between.relay).ok
    until(lambda: between.met.service("echo").state == "ready", 30, "the service is there")
    with Witness(between.door) as application:
        application.check()
        found = between.results(tmp_path)
        assert failing(found) == [], found
        assert "1 paths across stand, and of 2 ways that it was asked for it refuses 0" in found["N5"][1]
        assert "2 live over a bearer each, all cleared" in found["N7"][1]
        # The file says otherwise than the process: what is live counts.
        between.write()
        found = between.results(tmp_path)
        assert failing(found) == ["N5"]
        assert "1 paths lead from internet to psn" in found["N5"][1]
        between.write(NAMED, psn="OFFICIAL")
        found = between.results(tmp_path)
        assert failing(found) == ["N7"]
        assert f"1 paths from internet to psn: marked {SENSITIVE}, and psn is cleared for OFFICIAL" in found["N7"][1]
        assert "the running node clears psn for more than the file says" in found["N7"][1]
