"""What is live, ways of critical imports, and drills, from answers of a node and its files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.admin.answers import ExplainAnswer, WayExplained
from pcgrelay.admin.assure_answers import PathsAcross
from pcgrelay.admin.status import OutletStatus, Status
from pcgrelay.assure.judgement import FAILED, PASSED, NotHereError
from pcgrelay.assure.judges import resilience, rules
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.readers import drills, ways
from pcgrelay.assure.scene import Scene
from pcgrelay.config import Config
from pcgrelay.drills.record import DrillRecord
from pcgrelay.gateway.drill_files import DrillFiles
from tests.support.documented_config import PATH, documented, written
from tests.support.healthy_status import HEALTHY

P = Parameters()
SERVICE = replace(HEALTHY.services[0], routes=(replace(HEALTHY.services[0].routes[0], priority="critical"),))
LINKS = tuple(replace(each, cleared="OFFICIAL") for each in HEALTHY.links)
STATUS = replace(HEALTHY, services=(SERVICE, *HEALTHY.services[1:]), links=LINKS)
WAY = WayExplained(
    exporter="met-1", hops=("relay-1.hub.example", "met-1"), chosen=True, link="up", bearer="psn", why_not=""
)
OTHER = replace(WAY, hops=("relay-2.backup.hub.example", "met-1"), bearer="internet")
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


def configured(**changes: object) -> Config:
    return config.parse(written({**documented(), **changes}), PATH)


@dataclass
class Clock:
    def wall(self) -> datetime:
        return NOW


class StillScene(Scene):
    """A scene whose node has that status."""

    said: Status = STATUS

    def status(self) -> Status:
        return self.said


def test_without_a_bearer_that_has_a_marking_nothing_is_judged() -> None:
    plain = {name: value for name, value in documented().items() if name not in ("bearer", "direct")}
    plain["export"][0]["marking"] = "OFFICIAL"
    found = ways.markings_of(config.parse(written(plain), PATH), STATUS)
    assert (found.judged, found.highest) == (False, 1)
    assert rules.markings_are_kept(found, P).outcome == PASSED


@pytest.mark.parametrize(("marking", "outcome"), [(1, PASSED), (2, PASSED), (3, FAILED)])
def test_a_session_goes_over_what_is_cleared_for_it(marking: int, outcome: str) -> None:
    settings = configured(
        bearer=[{"name": "psn", "marking": "OFFICIAL-SENSITIVE"}, {"name": "cjx", "marking": "OFFICIAL-SENSITIVE"}],
        policy={
            "members": ["*.police.example", "hub.example"],
            "relays": ["hub.example"],
            "clearances": {"hub.example": "OFFICIAL-SENSITIVE"},
        },
    )
    status = replace(STATUS, sessions=(replace(STATUS.sessions[0], marking=marking),))
    found = ways.markings_of(settings, status)
    assert [each.over for each in found.paths] == ["psn"]
    assert rules.markings_are_kept(found, P).outcome == outcome


TWO_BEARERS = {
    "bearer": [{"name": "psn", "marking": "OFFICIAL-SENSITIVE"}, {"name": "cjx", "marking": "OFFICIAL-SENSITIVE"}],
    "policy": {
        "members": ["*.police.example", "hub.example", "backup.example"],
        "relays": ["hub.example", "backup.example"],
        "clearances": {"hub.example": "OFFICIAL-SENSITIVE"},
    },
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bearers": ("psn",), "relays": ("relay-1.hub.example",)}, ""),
        # The link that it really has counts, and not one that would be cleared.
        ({"bearers": ("internet",), "relays": ("relay-1.hub.example",)}, "internet is cleared for OFFICIAL"),
        ({"bearers": ("psn", "internet"), "relays": ("relay-1.hub.example",)}, "internet is cleared for OFFICIAL"),
        (
            {"bearers": ("psn",), "relays": ("relay-1.hub.example", "relay-2.backup.example")},
            "backup.example is cleared for OFFICIAL",
        ),
        # A path to an edge itself has no relay.
        ({"bearers": ("psn",), "relays": ()}, ""),
    ],
)
def test_every_network_and_relay_that_carries_a_session_is_judged(changes: dict[str, object], said: str) -> None:
    status = replace(STATUS, sessions=(replace(STATUS.sessions[0], marking=2, **changes),))
    judgement = rules.markings_are_kept(ways.markings_of(configured(**TWO_BEARERS), status), P)
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


@pytest.mark.parametrize(
    ("cleared", "said"),
    [("OFFICIAL", ""), ("OFFICIAL-SENSITIVE", ""), ("SECRET", "clears psn for more"), ("", "clears psn for more")],
)
def test_the_running_node_clears_no_network_for_more_than_the_file_says(cleared: str, said: str) -> None:
    status = replace(STATUS, links=(replace(LINKS[0], cleared=cleared), replace(LINKS[0], state="down", cleared="")))
    judgement = rules.markings_are_kept(ways.markings_of(configured(**TWO_BEARERS), status), P)
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


def test_paths_through_a_relay_are_judged_by_both_networks_and_the_other_relays() -> None:
    rows = (
        PathsAcross(came="psn", goes="psn", marking=2, relays=("hub.example",), count=3),
        PathsAcross(came="psn", goes="internet", marking=2, count=1),
        PathsAcross(came="psn", goes="psn", marking=2, relays=("backup.example",), count=2),
    )
    found = ways.markings_of(configured(**TWO_BEARERS), replace(STATUS, sessions=()), rows)
    said = rules.markings_are_kept(found, P).observed
    assert "1 paths from psn to internet: marked OFFICIAL-SENSITIVE, and internet is cleared for OFFICIAL" in said
    assert "2 paths from psn to psn: marked OFFICIAL-SENSITIVE, and backup.example is cleared for OFFICIAL" in said
    assert "3 paths" not in said


def test_a_wildcard_of_relays_is_found() -> None:
    settings = configured(policy={"members": ["*.example"], "relays": ["*.hub.example"]})
    assert "relays has *.hub.example" in rules.markings_are_kept(ways.markings_of(settings, HEALTHY), P).observed


def test_critical_imports_are_those_of_either_side() -> None:
    assert [each.name for each in ways.critical_imports(configured(), STATUS)] == [SERVICE.name]
    assert ways.critical_imports(configured(), HEALTHY) == []
    values = documented()
    values["import"][0] |= {"service": SERVICE.name, "priority": "critical"}
    values["direct"][0]["service"] = SERVICE.name
    assert [each.name for each in ways.critical_imports(config.parse(written(values), PATH), HEALTHY)] == [SERVICE.name]


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ((WAY, OTHER), PASSED),
        ((WAY, replace(OTHER, link="down")), FAILED),
        ((WAY, replace(OTHER, bearer="psn")), FAILED),
        ((WAY, replace(OTHER, hops=WAY.hops)), FAILED),
        ((WAY, replace(OTHER, why_not="relay-2 over internet: cleared for OFFICIAL, this service is ...")), FAILED),
    ],
)
def test_two_ways_are_apart(found: tuple[WayExplained, ...], outcome: str) -> None:
    facts = ways.Ways(services=(ways.ways_of(SERVICE, ExplainAnswer(subject=SERVICE.name, ways=found)),))
    assert resilience.ways_are_apart(facts, P).outcome == outcome


def test_a_direct_outlet_is_a_way_of_its_own() -> None:
    outlets = (
        OutletStatus(name="gateway", kind="gateway", state="ready"),
        OutletStatus(name="cjx", kind="direct", state="ready", bearer="cjx"),
    )
    answer = ExplainAnswer(subject=SERVICE.name, ways=(WAY,))
    found = ways.ways_of(replace(SERVICE, outlets=outlets), answer)
    assert [each.bearer for each in found.ways] == ["cjx", "psn"]
    away = replace(SERVICE, outlets=(outlets[0], replace(outlets[1], state="failing")))
    assert len(ways.ways_of(away, answer).ways) == 1


def test_codes_are_asked_for_where_a_network_has_them() -> None:
    values = documented()
    picture = b"<svg>drawn 2026-11-30</svg>"
    found = ways.diagram_of(config.parse(written(values), PATH), ("psn",), picture, NOW.date())
    assert (found.drawn, found.coded, found.without) == (date(2026, 11, 30), ("psn",), ("import[1]",))
    assert rules.network_is_drawn(found, P).outcome == FAILED
    assert ways.diagram_of(config.parse(written(values), PATH), (), picture, NOW.date()).coded == ()
    values["import"][0]["srv"] = "SRV00123"
    found = ways.diagram_of(config.parse(written(values), PATH), ("psn",), picture, NOW.date())
    assert rules.network_is_drawn(found, P).outcome == PASSED


RECORD = DrillRecord(
    id="2026-11-01-backup-custody@met.police.example",
    kind="backup",
    subject=SERVICE.name,
    node="kent-1.kent.police.example",
    begun="2026-11-01T03:00:00Z",
    ended="2026-11-01T03:10:00Z",
    result="passed",
)


async def drilled(tmp_path: Path, record: DrillRecord, *, log: str = "", edit: bytes = b"") -> str:
    state = tmp_path / "state"
    values = documented()
    values["node"]["state"] = str(state)
    if not log:
        values.pop("audit")
    else:
        (state / "audit" / "log").mkdir(parents=True)
        (state / "audit" / "log" / "000000000000.jsonl").write_text(log)
    DrillFiles(state).write(record)
    if edit:
        path = next((state / "drills").glob("*.json"))
        path.write_bytes(path.read_bytes().replace(b"2026-11-01T03:10", edit))
    scene = StillScene(config.parse(written(values), PATH), P, tmp_path, clock=Clock())  # type: ignore[arg-type]
    return resilience.drills_were_held(await drills.read_drills(scene), P).observed


async def test_a_drill_on_record_passes(tmp_path: Path) -> None:
    assert await drilled(tmp_path, RECORD) == "1 critical services, each drilled"


async def test_a_drill_of_another_node_shows_nothing(tmp_path: Path) -> None:
    assert "of another node" in await drilled(tmp_path, replace(RECORD, node="met-1.met.police.example"))


async def test_a_drill_that_is_old_is_found(tmp_path: Path) -> None:
    assert "121 days ago" in await drilled(tmp_path, replace(RECORD, ended="2026-08-01T10:00:00Z"))


async def test_a_report_that_was_edited_is_found(tmp_path: Path) -> None:
    assert "is not as it was written" in await drilled(tmp_path, RECORD, edit=b"2026-11-29T03:10")


async def test_a_report_that_says_something_else_than_the_log_is_found(tmp_path: Path) -> None:
    line = f'{{"n":0,"event":"drill.ended","id":"{RECORD.id}","result":"RESULT"}}\n'
    assert "each drilled" in await drilled(tmp_path / "a", RECORD, log=line.replace("RESULT", "passed"))
    assert "not as it was written" in await drilled(tmp_path / "b", RECORD, log=line.replace("RESULT", "failed"))


async def test_without_a_critical_import_there_is_nothing_to_drill(tmp_path: Path) -> None:
    scene = StillScene(configured(), P, tmp_path)
    scene.said = HEALTHY
    with pytest.raises(NotHereError):
        await drills.read_drills(scene)
