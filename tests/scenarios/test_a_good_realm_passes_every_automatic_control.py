"""At a realm that is as it should be every automatic control passes, but those that the machine of the test breaks; and
faults that are made at the source of a control flip exactly that one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.kit.echo_witness import Echo, host_port
from tests.scenarios.kit.kernel_clock import FREE, KEPT, kernel_clock
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, Node, Stage
from tests.scenarios.kit.reload_setup import command
from tests.support.alert_rules import RULES
from tests.support.ports import free_port
from tests.support.signing import NAMESPACES, make_people
from tests.support.waiting import until

# A witness is asked once a minute.
pytestmark = [pytest.mark.tier_all, pytest.mark.timeout(600)]

SERVICE = f"custody@{MET}"
SECOND, PROBE = "backup.example", "probe.police.example"
BY = ("--by", "j.smith@kent.police.example", "--change", "CR-1042", "--reason", "Joint operation")
# What the machine of a test cannot have, and what is said of it then: its nodes are started by whoever runs the tests,
# without a unit, which is a question; it may have a swap area. Of a machine under systemd another scenario says more.
OF_MACHINE = {"L1": ("told", "it was started by hand"), "K9": ("failed", "swap area")}
PROFILE = """\
title = "a test"
reviewed = "2026-11"
extends = "ncsc-official"
{controls}
[parameters]
monitoring.rules = "{rules}"
"""


class Good:
    """Kent behind two relays of two organisations over two networks; a critical import with a back-up; a probe."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.folder = stage, stage.folder
        self.until = (datetime.now(UTC) + timedelta(days=90)).date()
        self.paper = {"owner": "j.smith@kent.police.example", "reason": "Joint", "change": "CR-1", "until": self.until}
        self.people = make_people(self.folder / "keys", "j.smith", "a.jones", "b.khan", "c.lee")
        ends = f'namespaces="{NAMESPACES}",valid-before="{self.until:%Y%m%d}Z"'
        self.signers = self.folder / "allowed_signers"
        self.signers.write_text("".join(each.line(ends) for each in self.people))
        self.targets = {name: free_port() for name in ("echo", "pnd", "custody", "old")}
        self.bearers = [
            {"name": name, "marking": "OFFICIAL", "supported_until": self.until} for name in ("psn", "internet", "cjx")
        ]
        self.ports = {"psn": free_port(), "internet": free_port()}
        for name, organisation, bearer in (("relay-1", HUB, "psn"), ("relay-2", SECOND, "internet")):
            listens = [{"address": host_port(self.ports[bearer]), "bearer": bearer}]
            stage.relay(name, organisation=organisation, listens=listens, **self.common(name))
        self.links = [
            {"peer": f"relay-1.{HUB}", "address": host_port(self.ports["psn"]), "bearer": "psn"},
            {"peer": f"relay-2.{SECOND}", "address": host_port(self.ports["internet"]), "bearer": "internet"},
        ]
        self.revoked = stage.pki.issue("revoked.example", "revoked-1", revoked=True)
        self.met = stage.node(
            MET, "met-1", links=self.links, exports=[self.export("custody", KENT)], **self.common("met-1")
        )
        entries = [{"service": f"{name}@{KENT}", "listen": host_port(free_port())} for name in ("echo", "pnd")]
        self.probe = stage.node(PROBE, "probe-1", links=self.links, imports=entries, **self.common("probe-1"))
        self.kent = self.write_kent()

    def common(self, name: str) -> dict[str, Any]:
        state = self.folder / f"state-{name}"
        state.mkdir(mode=0o700, exist_ok=True)
        policy = {"relays": [HUB, SECOND], "transit": [["psn", "internet"]]}
        policy["clearances"] = {HUB: "OFFICIAL", SECOND: "OFFICIAL"}
        return {
            "node_table": {"state": str(state)}, "audit": {"keep_days": 400}, "bearers": self.bearers, "policy": policy,
        }  # fmt: skip

    def export(self, name: str, *allow: str) -> dict[str, Any]:
        return {"service": name, "target": host_port(self.targets[name]), "allow": list(allow)}

    def write_kent(self) -> Node:
        tables = self.common("kent-1")
        tables["policy"]["paper"] = self.paper
        entry = {
            "service": SERVICE, "listen": host_port(free_port()), "priority": "critical", "srv": "SRV00123",
        }  # fmt: skip
        direct = {"service": SERVICE, "name": "cjx", "address": host_port(self.targets["old"]), "bearer": "cjx"}
        exports = [self.export("echo", MET, PROBE), self.export("pnd", MET)]
        return self.stage.node(
            KENT, "kent-1",
            listens=[{"address": host_port(free_port()), "bearer": "psn", **self.paper}],
            links=[{**each, **self.paper} for each in self.links],
            exports=[{**each, **self.paper} for each in exports],
            imports=[{**entry, **self.paper}],
            directs=[{**direct, **self.paper, "probe": "none"}],
            approvals={"signers": str(self.signers), "needs": 2},
            assure={"probe": str(self.probe.config), "revoked": str(self.revoked.certificate)},
            **tables,
        )  # fmt: skip

    def start(self) -> None:
        """Approve what Kent begins with, start all, drill the back-up, and wait for a witness."""
        _, jones, khan, _ = self.people
        for person, words in ((jones, BY), (khan, ())):
            done = command("approve", "--first", "-c", self.kent.config, *words, "--key", person.key, "--yes")
            assert done.returncode == 0, done.stdout + done.stderr
        self.stage.start()
        self.stage.await_well(but=["pnd"])
        done = command("drill", "backup", SERVICE, "--for", "2s", "--yes", "-c", self.kent.config)
        assert done.returncode == 0, done.stdout + done.stderr

        def witnessed() -> bool:
            audit = self.kent.status().audit
            return audit is not None and any(each.size for each in audit.witnesses)

        until(witnessed, 150, "a relay has witnessed the log")
        log = self.folder / "state-kent-1" / "audit" / "log"
        # A node that has just started waits half a minute for its neighbours' clocks.
        until(
            lambda: any(b'"clock.state"' in each.read_bytes() for each in log.iterdir()), 90, "the clock is on record"
        )

    def assured(self, *words: str | Path, clock: str = KEPT, controls: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
        """Run controls at Kent, all unless some are named; what came of each. clock: as the kernel says."""
        profile = self.folder / "profile.toml"
        chosen = f"controls = {json.dumps(controls)}\n" if controls else ""
        profile.write_text(PROFILE.format(rules=RULES, controls=chosen))
        run = ("assure", "run", "-c", self.kent.config, "--profile", profile, "--json", *words)
        done = command(*run, seconds=400, environment=kernel_clock(self.folder, clock))
        assert done.returncode in (0, 8), done.stdout + done.stderr
        return {each["id"]: each for each in json.loads(done.stdout)["results"]}


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Good]:
    with Stage(tmp_path_factory.mktemp("good")) as stage, ExitStack() as stack:
        made = Good(stage)
        for port in made.targets.values():
            stack.enter_context(Echo((HOST, port)))
        made.start()
        yield made


def not_passed(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What did not pass and a machine could know, but for what the machine of a test breaks."""
    found = {}
    for id, each in results.items():
        outcome, words = OF_MACHINE.get(id, ("", ""))
        if each["outcome"] == "passed" or (each["outcome"] == "told" and each["test"] == "told"):
            continue
        if each["outcome"] == outcome and words in each["observed"] and ";" not in each["observed"].partition(":")[0]:
            continue
        found[id] = f"{each['outcome']}: {each['observed']}"
    return found


def test_every_automatic_control_passes_and_the_pack_is_sealed(
    realm: Good, figure: Callable[[str], None], tmp_path: Path
) -> None:
    results = realm.assured("--out", tmp_path / "evidence")
    assert not_passed(results) == {}
    seconds = sum(each["seconds"] for each in results.values())
    figure(f"{len(results)} controls at a good realm: {seconds:.0f} s")
    assert seconds < 120
    assert command("assure", "verify", tmp_path / "evidence").returncode == 0
    assert (tmp_path / "evidence" / "pack.tlog-proof").is_file()


def test_a_link_is_taken_away_and_comes_back(realm: Good) -> None:
    results = realm.assured("--disrupt")
    assert not_passed(results) == {}
    assert "was taken away" in results["R3"]["observed"]
    assert realm.kent.is_well()
    record = json.loads(command("drill", "list", "--json", "-c", realm.kent.config).stdout)["records"][-1]
    assert (record["kind"], record["result"], record["by"]) == ("relay-loss", "passed", "pcgrelay assure run --disrupt")


def test_two_runs_have_the_same_outcomes(realm: Good) -> None:
    first, second = ({id: each["outcome"] for id, each in realm.assured().items()} for _ in range(2))
    assert first == second


# -- faults at the source --------------------------------------------------------------------------------------------

TRIED = ("K4", "K6", "L4", "M1", "M4", "N3", "N5", "N7", "S1", "S2")


def failing(results: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {id: each["observed"] for id, each in results.items() if each["outcome"] != "passed"}


def test_a_kernel_that_does_not_keep_its_clock_flips_its_control(realm: Good) -> None:
    assert failing(realm.assured(controls=TRIED)) == {}
    found = failing(realm.assured(controls=TRIED, clock=FREE))
    assert list(found) == ["M1"]
    assert "not synchronised" in found["M1"]


def test_a_bit_of_the_log_flips_its_control(realm: Good) -> None:
    segment = min((realm.folder / "state-kent-1" / "audit" / "log").iterdir())

    def flip() -> None:
        with segment.open("r+b") as file:
            file.seek(200)
            (byte,) = file.read(1)
            file.seek(200)
            file.write(bytes([byte ^ 1]))

    flip()
    try:
        found = failing(realm.assured(controls=TRIED))
    finally:
        flip()
    assert list(found) == ["M4"]
    assert failing(realm.assured(controls=TRIED)) == {}


def test_an_identity_that_nobody_revoked_flips_its_control(realm: Good) -> None:
    """A listener that takes it is what the control is about: the test identity is another one, which is good."""
    other = realm.stage.pki.issue("revoked.example", "revoked-2")
    kept = [(path, path.read_bytes()) for path in (realm.revoked.certificate, realm.revoked.key)]
    for (path, _), data in zip(kept, (other.certificate.read_bytes(), other.key.read_bytes()), strict=True):
        path.write_bytes(data)
    try:
        found = failing(realm.assured(controls=TRIED))
    finally:
        for path, data in kept:
            path.write_bytes(data)
    assert found == {"K6": "the listener takes a revoked identity"}


def test_a_list_of_the_realm_that_is_stale_flips_its_control(realm: Good) -> None:
    listed = realm.stage.pki.crl
    kept, made = listed.read_bytes(), datetime.now(UTC) - timedelta(days=9)
    listed.write_bytes(realm.stage.pki.list_made(made))
    try:
        found = failing(realm.assured(controls=TRIED))
    finally:
        listed.write_bytes(kept)
    assert list(found) == ["K6"]
    assert "was made 9 days ago" in found["K6"]
