"""A realm with approvals, an audit log and a throw-away organisation: its controls pass, and faults that are made for
real flip exactly the control that is about each."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from pcgrelay.drills.record import BACKUP, PASSED, DrillRecord
from pcgrelay.gateway.drill_files import DrillFiles
from pcgrelay.state.approved import ApprovedStore
from tests.scenarios.kit.nodes import HOST, HUB, KENT, MET, PCGRELAY, Node, Stage, frozen
from tests.support.alert_rules import RULES
from tests.support.applications import echo, server
from tests.support.ports import free_port
from tests.support.signing import listed, make_people
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

PROBE = "probe.example"
RECORDS = f"records@{MET}"
# Without the witness, who comes once a minute (M4), and the clock of a machine under test (M1).
CONTROLS = ["N3", "N4", "N5", "N6", "N7", "N8", "L4", "M2", "M5", "M6", "M7", "R1", "R2", "R6"]
PAPER = {
    "owner": "j.smith@kent.police.example",
    "reason": "Joint operation",
    "change": "CR-1",
    "until": datetime.now(UTC).date() + timedelta(days=300),
}
BEARERS = [{"name": name, "marking": "OFFICIAL-SENSITIVE"} for name in ("psn", "internet")]
DRILL = DrillRecord(
    id=f"2026-11-01-backup-{RECORDS}",
    kind=BACKUP,
    subject=RECORDS,
    node=f"kent-1.{KENT}",
    begun="",
    ended=f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}",
    result=PASSED,
)


def at(port: int) -> str:
    return f"{HOST}:{port}"


class Realm:
    """Kent's edge is the one that is tested."""

    def __init__(self, stage: Stage, target: tuple[str, int]) -> None:
        self.stage, self.folder = stage, stage.folder
        self.state = stage.folder / "state"
        self.state.mkdir(mode=0o700)
        self.people = make_people(stage.folder / "keys", "a.jones", "b.khan", "j.smith")
        (stage.folder / "allowed_signers").write_text(listed(self.people))
        ports = [free_port(), free_port()]
        transit = {"transit": [["psn", "internet"]], "relays": [HUB]}
        clearances = {"clearances": dict.fromkeys((HUB, MET, KENT, PROBE), "OFFICIAL-SENSITIVE")}
        for number, (port, bearer) in enumerate(zip(ports, ("psn", "internet"), strict=True), 1):
            listens = [{"address": at(port), "bearer": bearer}]
            stage.relay(f"relay-{number}", listens=listens, bearers=BEARERS, policy=transit | clearances)
        self.links: list[dict[str, Any]] = [
            {"peer": f"relay-{n}.{HUB}", "address": at(port), "bearer": bearer}
            for n, (port, bearer) in enumerate(zip(ports, ("psn", "internet"), strict=True), 1)
        ]
        spelt = f"{target[0]}:{target[1]}"
        self.exports: list[dict[str, Any]] = [
            {"service": "echo", "target": spelt, "allow": [MET, PROBE], "marking": "OFFICIAL-SENSITIVE"},
            {"service": "pnd", "target": spelt, "allow": [MET]},
        ]
        self.imports: list[dict[str, Any]] = [
            {"service": RECORDS, "listen": at(free_port()), "priority": "critical", "srv": "SRV00123"}
        ]
        common: dict[str, Any] = {"bearers": BEARERS, "policy": {"relays": [HUB]} | clearances}
        exported = [{"service": "records", "target": spelt, "allow": [KENT], "priority": "critical"}]
        stage.node(MET, "met-1", links=self.links, exports=exported, **common)
        asked = [{"service": f"{each}@{KENT}", "listen": at(free_port())} for each in ("echo", "pnd")]
        self.probe = stage.node(PROBE, "probe-1", links=self.links[:1], imports=asked, **common)
        self.common = common
        self.node = self.write()

    def write(self) -> Node:
        def signed(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [{**entry, **PAPER} for entry in entries]

        tables: dict[str, Any] = {
            "node_table": {"state": str(self.state)},
            "links": signed(self.links),
            "exports": signed(self.exports),
            "imports": signed(self.imports),
            "bearers": self.common["bearers"],
            "policy": {**self.common["policy"], "paper": PAPER},
            "approvals": {"signers": "allowed_signers"},
            "audit": {"keep_days": 400},
            "assure": {"probe": str(self.probe.config)},
        }
        return self.stage.node(KENT, "kent-1", **tables)

    def approve_first(self) -> None:
        said = ["--by", self.people[2].address, "--change", "CR-1", "--reason", "first policy", "--yes"]
        for person in self.people[:2]:
            self.command("approve", "--first", *said, "--key", str(person.key), "-c", str(self.node.config))

    def command(self, *words: str, good: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run([PCGRELAY, *words], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode in good, done.stdout + done.stderr
        return done.stdout

    def outcomes(self, *controls: str) -> dict[str, tuple[str, str]]:
        profile = self.folder / "profile.toml"
        profile.write_text(
            'title = "test"\nreviewed = "2026-11"\nextends = "ncsc-official"\n'
            f'controls = {json.dumps(controls or CONTROLS)}\nparameters.monitoring.rules = "{RULES}"\n'
        )
        found = self.command(
            "assure", "run", "-c", str(self.node.config), "--profile", str(profile), "--json", good=(0, 8)
        )
        return {each["id"]: (each["outcome"], each["observed"]) for each in json.loads(found)["results"]}


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    with Stage(tmp_path_factory.mktemp("r")) as stage, server(echo) as target:
        made = Realm(stage, target)
        DrillFiles(made.state).write(DRILL)
        made.approve_first()
        stage.start()
        stage.await_well()
        yield made


def test_all_pass(realm: Realm) -> None:
    found = realm.outcomes()
    assert {id: words for id, (outcome, words) in found.items() if outcome != "passed"} == {}


Undo = Callable[[], object]


def socket_opened(realm: Realm) -> Undo:
    admin = realm.node.config.with_suffix(".sock")
    admin.chmod(0o660)
    return lambda: admin.chmod(0o600)


def edited(realm: Realm) -> Undo:
    realm.exports[1]["allow"] = [MET, PROBE]
    realm.write()
    realm.exports[1]["allow"] = [MET]
    return realm.write


def segment_opened(realm: Realm) -> Undo:
    path = next((realm.state / "audit" / "log").iterdir())
    path.chmod(0o666)
    return lambda: path.chmod(0o600)


def drill_old(realm: Realm) -> Undo:
    return drilled(realm, ended="2020-07-01T10:00:00Z")


def drill_failed(realm: Realm) -> Undo:
    return drilled(realm, result="failed")


def drilled(realm: Realm, **changes: str) -> Undo:
    DrillFiles(realm.state).write(replace(DRILL, **changes))
    return lambda: DrillFiles(realm.state).write(DRILL)


def signature_gone(realm: Realm) -> Undo:
    """One of two signatures of the approved copy, and the digest of what is there made again."""
    store = ApprovedStore(realm.state)
    held = store.read()
    assert held is not None
    kept = {name: data for name, data in held.files.items() if not name.endswith(f"{realm.people[0].address}.sig")}
    store.write(kept, held.pointer)
    return lambda: store.write(held.files, held.pointer)


FAULTS = {
    "N4": socket_opened,
    "N3 an edit that nobody approved": edited,
    "M5": segment_opened,
    "R2 an old drill": drill_old,
    "R2 a failed drill": drill_failed,
    "L4": signature_gone,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_is_made_flips_its_control(realm: Realm, name: str) -> None:
    undo = FAULTS[name](realm)
    try:
        found = realm.outcomes("N3", "N4", "N5", "N7", "N8", "L4", "M5", "M7", "R1", "R2")
    finally:
        undo()
    assert [id for id, (outcome, _) in found.items() if outcome != "passed"] == [name.partition(" ")[0]], found


def test_one_link_only_flips_the_ways(realm: Realm) -> None:
    with frozen(realm.stage.nodes[f"relay-2.{HUB}"].pid):
        until(lambda: {each.state for each in realm.node.status().links} != {"up"}, 30, "a link is away")
        found = realm.outcomes("N5", "N7", "R1", "R2")
    assert [id for id, (outcome, _) in found.items() if outcome != "passed"] == ["R1"], found
