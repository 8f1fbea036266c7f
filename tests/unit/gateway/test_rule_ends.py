"""Rules end at their second, once, whatever the clock does; what is known of it goes into the hand-over record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pcgrelay import config
from pcgrelay.clock import SetClock
from pcgrelay.config import Config
from pcgrelay.errors import RunError
from pcgrelay.gateway import rule_ends
from pcgrelay.gateway.handover import to_handover
from pcgrelay.gateway.prepared import Prepared
from pcgrelay.gateway.rule_ends import RuleEnds
from pcgrelay.handover.node import NodeHandover, decode_handover, encode_handover
from pcgrelay.log.events import Failure, Record
from pcgrelay.log.rule_events import RuleEnding, RuleExpired, RuleReturned, RuleUnreturned
from pcgrelay.policy.in_force import days_left, in_force
from tests.support.documented_config import PATH, approved, written
from tests.support.nodes_in_process import KENT, MET, Nodes, Running, entry, export, is_live
from tests.support.ports import free_port
from tests.support.waiting import until_async


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[Nodes]:
    made = Nodes(tmp_path)
    yield made
    await made.stop()


async def test_an_end_between_two_processes_is_logged_by_the_second(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
    rule = {"organisation": MET, "until": until, "reason": "an operation", "reference": "DPIA-2026-114"}
    export = {"service": "custody", "target": "127.0.0.1:5432", "allow": [rule], "probe": "none"}
    old = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[export])
    old.edge.tables.tick()
    record = decode_handover(encode_handover(to_handover(old.node)))
    assert [(each.organisation, each.until, each.told) for each in record.rule_ends] == [(MET, until, False)]
    await asyncio.sleep(0)  # its tasks begin
    await old.node.stop()
    new = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{free_port()}"], exports=[export])
    new.edge.tables.restore(record.rule_ends)
    monkeypatch.setattr(new.node.clock, "wall", lambda: until + timedelta(seconds=1))
    new.edge.tables.tick()
    (told,) = new.lines("rule.ended")
    assert (told["organisation"], told["reference"]) == (MET, "DPIA-2026-114")
    new.edge.tables.tick()
    assert len(new.lines("rule.ended")) == 1
    await asyncio.sleep(0)


# -- the last day of a rule, with a set clock ----------------------------------------------------------------

OVER = datetime(2027, 4, 1, tzinfo=UTC)
NAMES = [
    "direct cjx of custody@kent.police.example",
    "export custody",
    "import custody@kent.police.example",
    "link relay-1.hub.example at 127.0.0.1:7400",
    "listen 127.0.0.1:7400 on psn",
    "policy members and relays",
]


class Local:
    """What is written, and what is in force."""

    def __init__(self, whole: Config, now: datetime) -> None:
        self.written = whole
        self.config = in_force(whole, now)

    def narrowed(self, config: Config) -> Config:
        """What a bundle of the realm leaves of a configuration: there is none."""
        return config


class Applied:
    """A node that notes what it is told."""

    def __init__(self, local: Local) -> None:
        self.local = local
        self.did: list[str] = []
        self.fails = False
        self.breaks = False

    async def prepare(self, config: Config) -> Prepared:
        self.did.append("prepare")
        if self.fails:
            raise RunError("The port is taken.")
        return Prepared()

    def keep(self, config: Config) -> None:
        self.did.append("keep")
        self.local.config = config
        if self.breaks:
            raise ValueError

    def give_back(self, config: Config, prepared: Prepared) -> None:
        self.did.append("give back")
        self.local.config = config

    def publish(self) -> None:
        self.did.append("publish")


class Stage:
    """The ends of the documented rules, by a clock that the test sets."""

    def __init__(self, now: datetime, **until: date) -> None:
        values = approved()
        for table, day in until.items():
            values[table][0]["until"] = day
        self.clock = SetClock(now)
        self.local = Local(config.parse(written(values), PATH), now)
        self.lock = asyncio.Lock()
        self.told: list[Record] = []
        self.applied = Applied(self.local)
        self.ends = self.made()

    def made(self) -> RuleEnds:
        return RuleEnds(self.local, self.applied, self.lock, self.told.append, self.clock)  # type: ignore[arg-type]

    def set_clock(self, now: datetime) -> None:
        self.clock._wall = now

    def expired(self) -> list[str]:
        return [each.rule for each in self.told if isinstance(each, RuleExpired)]


def test_an_end_is_applied_and_told_in_the_tick_that_finds_it_and_only_once() -> None:
    stage = Stage(OVER - timedelta(seconds=1))
    stage.ends.tick()
    assert stage.local.config is stage.local.written
    assert stage.expired() == []
    stage.clock.advance(1_000)
    stage.ends.tick()
    assert stage.expired() == NAMES
    assert stage.local.config.links == ()
    assert stage.applied.did == ["publish", "keep"]
    (told,) = (each for each in stage.told if isinstance(each, RuleExpired) and each.rule == "export custody")
    assert (told.until, told.reason, told.change) == ("2027-03-31", "Custody look-ups", "CR-1042")
    for _ in range(3):
        stage.clock.advance(1_000)
        stage.ends.tick()
    assert stage.applied.did == ["publish", "keep"]
    assert stage.expired() == NAMES


def test_an_end_that_is_applied_in_part_is_applied_again_and_nothing_else_waits_for_it() -> None:
    stage = Stage(OVER)
    stage.set_clock(OVER - timedelta(seconds=1))
    stage.local.config = stage.local.written
    stage.ends = stage.made()
    stage.applied.breaks = True
    stage.clock.advance(1_000)
    for _ in range(2):
        stage.ends.tick()
    assert stage.applied.did.count("keep") == 2
    assert [each.error for each in stage.told if isinstance(each, Failure)] == ["ValueError"] * 2
    stage.applied.breaks = False
    for _ in range(2):
        stage.ends.tick()
    assert stage.applied.did.count("keep") == 3
    assert stage.expired() == NAMES


async def test_an_end_between_two_ticks_is_met_at_its_second() -> None:
    moment = datetime.now(UTC) + timedelta(milliseconds=200)
    stage = Stage(moment)
    rule = next(iter(stage.ends._all()))
    stage.ends._rules = (type(rule)(name=rule.name, paper=rule.paper, end=moment),)
    stage.set_clock(moment - timedelta(milliseconds=200))
    stage.ends.tick(within_s=1.0)
    stage.set_clock(moment)
    await until_async(lambda: stage.expired() == ["policy members and relays"])
    stage.ends.stop()


def test_no_owner_is_ever_logged() -> None:
    stage = Stage(OVER - timedelta(days=1, seconds=1))
    stage.ends.tick()
    stage.clock.advance(86_401_000)
    stage.ends.tick()
    assert len(stage.told) > len(NAMES)
    assert "j.smith" not in repr(stage.told)


def test_what_had_ended_at_the_start_is_no_news() -> None:
    stage = Stage(OVER)
    stage.ends.tick()
    assert stage.told == []
    assert stage.applied.did == []
    assert [each.days for each in stage.ends.status()] == [0] * 6


async def test_a_clock_that_is_set_back_gives_back_what_it_ended() -> None:
    stage = Stage(OVER - timedelta(seconds=1))
    stage.ends.tick()
    stage.clock.advance(1_000)
    stage.ends.tick()
    stage.set_clock(OVER - timedelta(hours=1))
    stage.ends.tick()
    await until_async(lambda: stage.local.config == stage.local.written)
    assert sorted(each.rule for each in stage.told if isinstance(each, RuleReturned)) == NAMES
    assert stage.applied.did == ["publish", "keep", "publish", "prepare", "give back"]
    # And forward again: it is another end, and told as one.
    stage.set_clock(OVER)
    stage.ends.tick()
    assert stage.expired() == NAMES * 2


async def test_what_cannot_be_opened_again_is_told_and_tried_again() -> None:
    stage = Stage(OVER - timedelta(seconds=1))
    stage.ends.tick()
    stage.clock.advance(1_000)
    stage.ends.tick()
    stage.applied.fails = True
    stage.set_clock(OVER - timedelta(hours=1))
    stage.ends.tick()
    await until_async(lambda: any(isinstance(each, RuleUnreturned) for each in stage.told))
    stage.ends.tick()
    await asyncio.sleep(0)
    assert stage.applied.did.count("prepare") == 1
    stage.applied.fails = False
    stage.clock.advance(10_000)
    stage.ends.tick()
    await until_async(lambda: stage.local.config == stage.local.written)


async def test_while_a_reload_is_under_way_tables_are_published_and_the_rest_follows_it() -> None:
    stage = Stage(OVER - timedelta(seconds=1))
    stage.ends.tick()
    async with stage.lock:
        stage.clock.advance(1_000)
        stage.ends.tick()
        assert stage.expired() == NAMES
        assert stage.applied.did == ["publish"]
    stage.ends.tick()
    assert stage.applied.did == ["publish", "keep"]


def test_an_end_between_two_processes_is_told_by_the_second() -> None:
    old = Stage(OVER - timedelta(seconds=1))
    old.ends.tick()
    record = decode_handover(encode_handover(NodeHandover(started_ms=1, paper_ends=old.ends.to_handover())))
    new = Stage(OVER + timedelta(seconds=1))
    new.ends.restore(record.paper_ends)
    new.ends.tick()
    assert new.expired() == NAMES
    # A third one has heard of it.
    third = Stage(OVER + timedelta(seconds=2))
    third.ends.restore(new.ends.to_handover())
    third.ends.tick()
    assert third.told == []


def test_ends_are_announced_at_30_14_7_and_1_days_those_of_a_day_together() -> None:
    stage = Stage(OVER - timedelta(days=40), export=date(2027, 12, 31))
    announced = []
    for _ in range(40):
        stage.ends.tick()
        stage.ends.tick()
        announced += [each for each in stage.told if isinstance(each, RuleEnding)]
        stage.told.clear()
        stage.clock.advance(86_400_000)
    assert [(each.days, len(each.rules), each.until) for each in announced] == [
        (days, 5, "2027-03-31") for days in (30, 14, 7, 1)
    ]


async def test_rules_are_gone_through_when_one_changes_and_not_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[datetime] = []
    stage = Stage(OVER - timedelta(days=32))
    monkeypatch.setattr(rule_ends, "days_left", lambda rule, now: looked.append(now) or days_left(rule, now))

    def looks(now: datetime) -> bool:
        looked.clear()
        stage.set_clock(now)
        stage.ends.tick()
        return bool(looked)

    assert looks(OVER - timedelta(days=31))
    assert not looks(OVER - timedelta(days=30, seconds=1))
    for days in (30, 14, 7, 1, 0):
        assert looks(OVER - timedelta(days=days))
        assert not looks(OVER - timedelta(days=days) + timedelta(seconds=1))
    # The clock is set back.
    assert looks(OVER - timedelta(seconds=1))
    # Another configuration.
    stage.local.written = config.parse(written(approved()), PATH)
    assert looks(OVER)
    # What returned when the clock was set back was to be opened again.
    stage.ends.stop()
    await asyncio.sleep(0)


def test_what_was_announced_is_not_announced_by_the_next_process() -> None:
    old = Stage(OVER - timedelta(days=20))
    old.ends.tick()
    assert len(old.told) == 1
    new = Stage(OVER - timedelta(days=20))
    new.ends.restore(old.ends.to_handover())
    new.ends.tick()
    assert new.told == []


@pytest.mark.parametrize(
    ("moment", "days"),
    [
        (OVER - timedelta(days=30), 30),
        (OVER - timedelta(days=1), 1),
        (OVER - timedelta(seconds=1), 1),
        (OVER, 0),
        (OVER + timedelta(days=900), 0),
    ],
)
def test_status_counts_the_days_that_are_left(moment: datetime, days: int) -> None:
    assert {each.days for each in Stage(moment).ends.status()} == {days}
    assert Stage(OVER - timedelta(days=31)).ends.status() == ()


# -- whole nodes ---------------------------------------------------------------------------------------------


def ended_tomorrow(**more: Any) -> dict[str, Any]:
    return {**more, "until": datetime.now(UTC).date()}


def tomorrow(running: Running, monkeypatch: pytest.MonkeyPatch) -> datetime:
    moment = datetime.combine(datetime.now(UTC).date() + timedelta(days=1), datetime.min.time(), UTC)
    monkeypatch.setattr(running.node.clock, "wall", lambda: moment)
    return moment


async def test_an_export_that_ends_is_granted_to_nobody_within_the_tick(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[ended_tomorrow(**export())])
    link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}
    met = await nodes.start(MET, "met-1", links=[link], imports=[entry()])
    await until_async(lambda: is_live(met))
    (session,) = kent.edge.sessions
    assert kent.edge.tables.granted_to(session) == (0,)
    tomorrow(kent, monkeypatch)
    kent.node.tick()
    assert kent.edge.tables.granted_to(session) == ()
    await until_async(lambda: dict(kent.core.published["grants"]) == {session.number: ()})
    assert [line["rule"] for line in kent.lines("rule.expired")] == ["export custody"]
    assert kent.node.link_table.links


async def test_links_listeners_and_imports_that_end_close(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    kent = await nodes.start(KENT, "kent-1", listens=[ended_tomorrow(address=f"127.0.0.1:{port}")], exports=[export()])
    link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}
    met = await nodes.start(MET, "met-1", links=[ended_tomorrow(**link)], imports=[ended_tomorrow(**entry())])
    await until_async(lambda: is_live(met))
    for running in (kent, met):
        tomorrow(running, monkeypatch)
        running.node.tick()
    assert kent.node.listeners.sockets() == {}
    assert met.edge.services.imports == []
    assert met.node.link_table.dialler.wanted == []
    await until_async(lambda: not kent.node.link_table.links and not met.node.link_table.links)
    assert [line["rule"].split()[0] for line in met.lines("rule.expired")] == ["import", "link"]
    # The clock is put right.
    monkeypatch.undo()
    for running in (kent, met):
        running.node.tick()
    await until_async(lambda: is_live(met))
    assert len(kent.lines("rule.returned")) == 1


async def test_members_that_end_lose_their_links(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    policy = {"members": ["*"], "paper": ended_tomorrow()}
    kent = await nodes.start(KENT, "kent-1", listens=[f"127.0.0.1:{port}"], exports=[export()], policy=policy)
    link = {"peer": f"kent-1.{KENT}", "address": f"127.0.0.1:{port}"}
    met = await nodes.start(MET, "met-1", links=[link], imports=[entry()])
    await until_async(lambda: is_live(met))
    tomorrow(kent, monkeypatch)
    kent.node.tick()
    await until_async(lambda: not kent.node.link_table.links)
    assert kent.node.link_table.refused["not_a_member"] >= 1


async def test_a_node_starts_with_rules_that_have_ended(nodes: Nodes) -> None:
    old = {"until": date(2020, 1, 1)}
    kent = await nodes.start(
        KENT,
        "kent-1",
        listens=[{"address": f"127.0.0.1:{free_port()}", **old}],
        exports=[{**export(), **old}],
        imports=[{**entry(), **old}],
        policy={"members": ["*"], "paper": old},
    )
    kent.node.tick()
    assert kent.lines("rule.expired") == []
    assert kent.lines("failure") == []
    assert kent.edge.services.imports == []
    assert len(kent.edge.services.exports) == 1
