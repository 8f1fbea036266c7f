"""Judges of rules, changes, networks, ways and drills."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec.structs import replace

from pcgrelay.assure.judgement import FAILED, NOT_HERE, PASSED, Judgement
from pcgrelay.assure.judges import resilience, rules
from pcgrelay.assure.parameters import Parameters
from pcgrelay.assure.rule_facts import (
    Backup,
    BearerPair,
    ChangeFact,
    Changes,
    Diagram,
    DrillFact,
    Drills,
    LiveTransit,
    Markings,
    PathFact,
    Refusal,
    RuleFact,
    Rules,
    ServiceWays,
    Transit,
    WayFact,
    Ways,
)

P = Parameters()
TODAY = date(2026, 11, 30)
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
RULE = RuleFact(where="export[1]", until=date(2027, 3, 31))
RULES = Rules(today=TODAY, rules=(RULE,), approvals=True, approved="a" * 64, holds="a" * 64)
CHANGE = ChangeFact(number="CR-1", taken="2026-11-01T09:00:00Z", by="SHA256:j", signers=("SHA256:a", "SHA256:b"))
CHANGES = Changes(approvals=True, needs=2, changes=(CHANGE,))
PAIR = BearerPair(one="internet", other="psn", allowed=False, named=False)
ACROSS = LiveTransit(came="psn", goes="internet", named=False, paths=3, led=1)
TRANSIT = Transit(bearers=("internet", "psn"), pairs=(PAIR,))
PATH = PathFact(
    what="session with met-1.met.police.example",
    marking=2,
    over="psn",
    bearer_cleared=2,
    neighbour="hub.example",
    neighbour_cleared=3,
)
MARKINGS = Markings(judged=True, highest=2, paths=(PATH,))
DIAGRAM = Diagram(today=TODAY, drawn=TODAY, coded=("psn",))
REFUSAL = Refusal(service="pnd@kent.police.example", served=False, recorded=True, rule=2, cause="not-allowed")
ONE = WayFact(bearer="psn", relays=("relay-1.hub.example",))
TWO = WayFact(bearer="internet", relays=("relay-2.backup.example",))
CUSTODY = "custody@met.police.example"
WAYS = Ways(services=(ServiceWays(service=CUSTODY, ways=(ONE, TWO)),))
DRILL = DrillFact(
    id="2026-11-01-backup-custody",
    kind="backup",
    subject=CUSTODY,
    result="passed",
    ended=NOW - timedelta(days=29),
    node="kent-1.kent.police.example",
)
DRILLS = Drills(now=NOW, node="kent-1.kent.police.example", critical=(CUSTODY,), drills=(DRILL,))
BACKUP = Backup(files=9, problem="", digest="a" * 64, restored="a" * 64)


def is_found(judgement: Judgement, said: str) -> None:
    assert judgement.outcome == (FAILED if said else PASSED), judgement
    assert said in judgement.observed


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (RULES, ""),
        (replace(RULES, rules=(replace(RULE, missing=("owner",)),)), "export[1] has no owner"),
        (replace(RULES, rules=(replace(RULE, missing=("until",), until=None),)), "export[1] has no until"),
        (replace(RULES, rules=(replace(RULE, until=TODAY),)), ""),
        (replace(RULES, rules=(replace(RULE, until=TODAY - timedelta(days=1)),)), "export[1] ended on 2026-11-29"),
        (replace(RULES, approvals=False), "nobody has to approve"),
        (replace(RULES, approved=""), "nothing was approved"),
        (replace(RULES, holds="b" * 64), "the file is bbbbbbbbbbbb, and aaaaaaaaaaaa was approved"),
    ],
)
def test_rules(facts: Rules, said: str) -> None:
    is_found(rules.rules_are_owned(facts, P), said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (CHANGES, ""),
        (replace(CHANGES, only_log=1), ""),
        (replace(CHANGES, approvals=False), "nobody has to approve"),
        (replace(CHANGES, changes=()), "nothing was approved"),
        (replace(CHANGES, needs=3), "2 of 3 signatures"),
        (replace(CHANGES, changes=(replace(CHANGE, signers=("SHA256:a", "SHA256:a")),)), "1 of 2 signatures"),
        (replace(CHANGES, changes=(replace(CHANGE, signers=("SHA256:a", "SHA256:j")),)), "1 of 2 signatures"),
        (replace(CHANGES, changes=(replace(CHANGE, signers=("SHA256:a",), bad=("expired",)),)), "others (expired)"),
        (replace(CHANGES, changes=(replace(CHANGE, whole=False),)), "CR-1 of 2026-11-01 is not the change"),
        (replace(CHANGES, changes=(replace(CHANGE, recorded=False),)), "is in the log with other keys"),
    ],
)
def test_changes(facts: Changes, said: str) -> None:
    is_found(rules.changes_are_signed(facts, P), said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (TRANSIT, ""),
        (replace(TRANSIT, pairs=(replace(PAIR, allowed=True, named=True),)), ""),
        (replace(TRANSIT, pairs=(replace(PAIR, allowed=True),)), "internet and psn are open to each other"),
        (replace(TRANSIT, live=(replace(ACROSS, named=True),)), ""),
        (replace(TRANSIT, live=(replace(ACROSS, paths=0, led=0),)), ""),
        (replace(TRANSIT, live=(ACROSS,)), "3 paths lead from psn to internet"),
        (replace(TRANSIT, live=(replace(ACROSS, paths=0),)), "would lead a path from psn to internet"),
    ],
)
def test_transit(facts: Transit, said: str) -> None:
    is_found(rules.nothing_leads_across(facts, P), said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (MARKINGS, ""),
        (replace(MARKINGS, judged=False), "something is marked OFFICIAL-SENSITIVE, and no bearer has a marking"),
        (Markings(judged=False, highest=1, paths=(), any_relay=True), ""),
        (replace(MARKINGS, paths=(replace(PATH, bearer_cleared=1),)), "and psn is cleared for OFFICIAL"),
        (replace(MARKINGS, paths=(replace(PATH, neighbour_cleared=1),)), "and hub.example is cleared for OFFICIAL"),
        (replace(MARKINGS, leaks=("psn",)), "the running node clears psn for more than the file says"),
        (replace(MARKINGS, patterns=("*.example",)), "relays has *.example"),
        (replace(MARKINGS, any_relay=True), "every member may be a relay"),
    ],
)
def test_markings(facts: Markings, said: str) -> None:
    is_found(rules.markings_are_kept(facts, P), said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (DIAGRAM, ""),
        (replace(DIAGRAM, coded=(), without=("import[1]",)), ""),
        (replace(DIAGRAM, without=("import[1]",)), "import[1] has no srv, which psn asks for"),
        (replace(DIAGRAM, drawn=date(2026, 4, 1)), "the drawing is of 2026-04-01"),
        (replace(DIAGRAM, drawn=None), "there is no drawing"),
    ],
)
def test_the_drawing(facts: Diagram, said: str) -> None:
    is_found(rules.network_is_drawn(facts, P), said)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (REFUSAL, ""),
        (replace(REFUSAL, served=True), "the probe was connected to pnd"),
        (replace(REFUSAL, recorded=False), "no record says so"),
        (replace(REFUSAL, waited_s=2.5), "the record came after 2.5 s"),
    ],
)
def test_refusals(facts: Refusal, said: str) -> None:
    is_found(rules.strangers_are_refused(facts, P), said)


def test_a_probe_that_may_use_everything_shows_no_refusal() -> None:
    assert rules.strangers_are_refused(replace(REFUSAL, service=""), P).outcome == NOT_HERE


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ((ONE, TWO), ""),
        ((ONE, WayFact(bearer="cjx", relays=())), ""),
        ((ONE,), "has 1 way"),
        ((), "has no way"),
        ((ONE, replace(TWO, bearer="psn")), f"all ways of {CUSTODY} go over psn"),
        ((ONE, replace(TWO, relays=ONE.relays)), f"all ways of {CUSTODY} go through relay-1.hub.example"),
        (
            (
                replace(ONE, relays=("a", "b")),
                replace(TWO, relays=("b", "c")),
                WayFact(bearer="cjx", relays=("c", "d")),
            ),
            "",
        ),
        (
            (
                replace(ONE, relays=("a", "b")),
                replace(TWO, relays=("b", "c")),
                WayFact(bearer="cjx", relays=("c", "a")),
            ),
            "over what another one needs too",
        ),
    ],
)
def test_ways(ways: tuple[WayFact, ...], said: str) -> None:
    is_found(resilience.ways_are_apart(Ways(services=(ServiceWays(service=CUSTODY, ways=ways),)), P), said)


@pytest.mark.parametrize(
    ("drills", "said"),
    [
        ((DRILL,), ""),
        ((replace(DRILL, result="failed", ended=NOW - timedelta(days=60)), DRILL), ""),
        ((), "was never drilled here"),
        ((replace(DRILL, kind="restore"),), "was never drilled here"),
        ((replace(DRILL, node="met-1.met.police.example"),), "a report of another node says nothing"),
        ((replace(DRILL, result="failed"),), "and the drill failed"),
        ((DRILL, replace(DRILL, result="stopped", ended=NOW - timedelta(days=1))), "and the drill stopped"),
        ((replace(DRILL, ended=NOW - timedelta(days=121)),), "was drilled 121 days ago"),
        ((replace(DRILL, ended=NOW + timedelta(days=2)),), "in the future"),
        ((replace(DRILL, ended=None),), "at an unknown time"),
    ],
)
def test_drills(drills: tuple[DrillFact, ...], said: str) -> None:
    is_found(resilience.drills_were_held(replace(DRILLS, drills=drills), P), said)


def test_a_report_that_was_altered_shows_nothing() -> None:
    facts = replace(DRILLS, odd=("drills/x.json",))
    is_found(resilience.drills_were_held(facts, P), "drills/x.json is not as it was written")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (BACKUP, ""),
        (replace(BACKUP, problem="identity.key (missing)"), "identity.key (missing)"),
        (replace(BACKUP, restored="b" * 64), "it has the policy bbbbbbbbbbbb, and aaaaaaaaaaaa holds"),
    ],
)
def test_back_ups(facts: Backup, said: str) -> None:
    is_found(resilience.backup_starts_a_node(facts, P), said)
