"""What an edge would be without each of its links, and a drill that takes one away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from pcgrelay import config
from pcgrelay.admin.answers import ExplainAnswer, WayExplained
from pcgrelay.admin.drill_answers import DrillAnswer
from pcgrelay.admin.status import OutletStatus, Status
from pcgrelay.assure.judgement import FAILED, PASSED, AskedError
from pcgrelay.assure.judges import resilience
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.readers import link_loss
from pcgrelay.assure.rule_facts import LinkLosses
from pcgrelay.assure.scene import Scene
from pcgrelay.drills.record import DrillRecord
from pcgrelay.errors import RunError
from tests.support.documented_config import PATH, documented, written
from tests.support.healthy_status import HEALTHY

P = Parameters()
WAY = WayExplained(
    exporter="met-1", hops=("relay-1.hub.example", "met-1"), chosen=True, link="up", bearer="psn", why_not=""
)
OTHER = replace(WAY, hops=("relay-2.backup.hub.example", "met-1"), bearer="internet")
IMPORT = next(each for each in HEALTHY.services if each.direction == "import")
LINK = replace(HEALTHY.links[0], peer="relay-1.hub.example", bearer="psn", state="up")
SECOND = replace(LINK, peer="relay-2.backup.hub.example", bearer="internet")
STATUS = replace(HEALTHY, services=(IMPORT,), links=(LINK, SECOND))
BOTH = {IMPORT.name: ExplainAnswer(subject=IMPORT.name, ways=(WAY, OTHER))}
RECORD = DrillRecord(
    id="2026-11-30-relay-loss-relay-1.hub.example",
    kind="relay-loss",
    subject="relay-1.hub.example",
    node="kent-1.kent.police.example",
    begun="2026-11-30T12:00:00Z",
)


class Node:
    """The admin socket of a node: explain, and a drill that ends with its second look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ways: Any, plan: DrillAnswer, end: DrillRecord) -> None:
        self.ways, self.plan, self.end = ways, plan, end
        self.asked: list[str] = []
        monkeypatch.setattr(link_loss, "ask", self.ask)
        monkeypatch.setattr(link_loss, "LOOK_S", 0.0)

    def ask(self, admin: Path, method: str, path: str, kind: type, timeout_s: float = 5.0) -> Any:
        if kind is ExplainAnswer:
            return ExplainAnswer(subject=IMPORT.name, ways=self.ways)
        self.asked.append(path)
        if "act=plan" in path:
            return self.plan
        if method == "POST":
            return DrillAnswer(record=RECORD)
        return DrillAnswer(record=self.end if len(self.asked) > 3 else RECORD)


class LiveScene(Scene):
    """A scene whose node has that status, and another one while a drill runs."""

    said: Status = STATUS
    later: Status = STATUS
    asked = 0

    def status(self) -> Status:
        self.asked += 1
        return self.said if self.asked == 1 else self.later


def scene(tmp_path: Path, *, disrupt: bool = False) -> LiveScene:
    return LiveScene(config.parse(written(documented()), PATH), P, tmp_path, disrupt=disrupt)


@pytest.mark.parametrize(
    ("ways", "stops"),
    [
        ((WAY, OTHER), ((), ())),
        ((WAY,), ((IMPORT.name,), ())),
        # Two neighbours, and a way that is not cleared for the service is none.
        ((WAY, replace(OTHER, why_not="relay-2 over internet: cleared for OFFICIAL, ...")), ((IMPORT.name,), ())),
        # What has no way now cannot lose it.
        ((), ((), ())),
    ],
)
def test_a_link_is_missed_by_what_has_no_other(ways: tuple[Any, ...], stops: tuple[tuple[str, ...], ...]) -> None:
    answers = {IMPORT.name: ExplainAnswer(subject=IMPORT.name, ways=ways)}
    found = tuple(link_loss.what_stops(STATUS, answers, link) for link in link_loss.links_up(STATUS))
    assert found == stops


def test_of_two_links_to_one_place_either_can_be_missed() -> None:
    status = replace(STATUS, links=(LINK, LINK))
    assert (
        link_loss.what_stops(
            status, {IMPORT.name: replace(BOTH[IMPORT.name], ways=(WAY,))}, ("relay-1.hub.example", "psn")
        )
        == ()
    )


def test_a_direct_outlet_serves_without_any_link() -> None:
    outlets = (OutletStatus(name="cjx", kind="direct", state="ready", bearer="cjx"),)
    status = replace(STATUS, services=(replace(IMPORT, outlets=outlets),))
    answers = {IMPORT.name: ExplainAnswer(subject=IMPORT.name, ways=(WAY,))}
    assert link_loss.what_stops(status, answers, ("relay-1.hub.example", "psn")) == ()


async def judged(found: LinkLosses) -> tuple[str, str]:
    judgement = resilience.serves_without_a_link(found, P)
    return judgement.outcome, judgement.observed


async def test_by_reading_nothing_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch, WAY, OTHER, plan=DrillAnswer(), end=RECORD)
    outcome, _ = await judged(await link_loss.read_link_losses(scene(tmp_path)))
    assert (outcome, node.asked) == (PASSED, [])


async def test_a_drill_that_passes_is_what_was_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = replace(RECORD, result="passed", sentence="3 of 3 streams went on", pause_longest_ms=41)
    Node(monkeypatch, WAY, OTHER, plan=DrillAnswer(), end=end)
    outcome, observed = await judged(await link_loss.read_link_losses(scene(tmp_path, disrupt=True)))
    assert outcome == PASSED
    assert "relay-1.hub.example was taken away: 3 of 3 streams went on, longest pause 41 ms" in observed


async def test_a_drill_that_fails_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = replace(RECORD, result="failed", sentence="1 stream was lost")
    Node(monkeypatch, WAY, OTHER, plan=DrillAnswer(), end=end)
    outcome, observed = await judged(await link_loss.read_link_losses(scene(tmp_path, disrupt=True)))
    assert (outcome, "failed: 1 stream was lost" in observed) == (FAILED, True)


async def test_an_import_that_is_not_ready_meanwhile_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Node(monkeypatch, WAY, OTHER, plan=DrillAnswer(), end=replace(RECORD, result="passed"))
    live = scene(tmp_path, disrupt=True)
    live.later = replace(STATUS, services=(replace(IMPORT, state="waiting"),))
    outcome, observed = await judged(await link_loss.read_link_losses(live))
    assert (outcome, f"were not ready: {IMPORT.name}" in observed) == (FAILED, True)


async def test_what_would_lose_something_is_not_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node(monkeypatch, WAY, plan=DrillAnswer(losses=("3 streams have no other way",)), end=RECORD)
    found = await link_loss.read_link_losses(scene(tmp_path, disrupt=True))
    assert found.taken is None
    assert not any("act=begin" in each for each in node.asked)
    assert (await judged(found))[0] == FAILED


async def test_a_node_that_holds_no_drill_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Node(monkeypatch, WAY, OTHER, plan=DrillAnswer(reason="The node drains.", exit_code=6), end=RECORD)
    with pytest.raises(RunError, match="The node holds no drill: The node drains"):
        await link_loss.read_link_losses(scene(tmp_path, disrupt=True))


async def test_at_a_relay_a_person_is_asked(tmp_path: Path) -> None:
    live = scene(tmp_path)
    live.said = replace(STATUS, node=replace(STATUS.node, role="relay"))
    with pytest.raises(AskedError):
        await link_loss.read_link_losses(live)


def test_an_exporter_with_its_last_link_is_not_reached_without_it() -> None:
    only = replace(STATUS, links=(LINK,))
    loss = link_loss.LinkLoss(neighbour=LINK.peer, bearer=LINK.bearer, stops=(), links_left=len(only.links) - 1)
    judgement = resilience.serves_without_a_link(LinkLosses(losses=(loss,), exports=True), P)
    assert "nobody reaches what is exported here" in judgement.observed
    assert resilience.serves_without_a_link(LinkLosses(losses=(loss,), exports=False), P).outcome == PASSED
    assert resilience.serves_without_a_link(LinkLosses(losses=(), exports=False), P).outcome == FAILED
