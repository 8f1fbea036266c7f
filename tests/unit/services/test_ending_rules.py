"""Entries of `allow` that end: each end is told once, whichever process sees it first."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from pcgrelay.config.settings import AllowTerms
from pcgrelay.handover.node import NodeHandover, RuleEndHandover, decode_handover, encode_handover
from pcgrelay.log.events import Record
from pcgrelay.policy.rules import Rule
from pcgrelay.services.ending_rules import EndingRules

NOW = datetime(2026, 12, 1, 9, tzinfo=UTC)
MET, SUSSEX, SURREY = "met.police.example", "sussex.police.example", "surrey.police.example"
ENDS = {MET: NOW - timedelta(seconds=1), SUSSEX: NOW + timedelta(seconds=2), SURREY: NOW + timedelta(days=9)}


def rule(ends: dict[str, datetime]) -> Rule:
    terms = tuple(
        AllowTerms(organisation=name, until=until, reason="an operation", reference=f"DPIA {name[0]}")
        for name, until in ends.items()
    )
    return Rule(0, "custody@kent.police.example", tuple(ends), terms=terms)


def passed_on(rules: EndingRules) -> tuple[RuleEndHandover, ...]:
    """As the new process reads it."""
    return decode_handover(encode_handover(NodeHandover(started_ms=1, rule_ends=rules.to_handover()))).rule_ends


class Process:
    """The look of one process, and what it told."""

    def __init__(self, record: tuple[RuleEndHandover, ...] = ()) -> None:
        self.told: list[Record] = []
        self.rules = EndingRules(self.told.append)
        self.rules.restore(record)

    def names(self) -> list[str]:
        return [record.organisation for record in self.told]  # type: ignore[attr-defined]


def test_an_end_in_the_pause_of_an_upgrade_is_told_by_the_new_process() -> None:
    old = Process()
    assert not old.rules.look([rule(ENDS)], NOW - timedelta(seconds=3))
    assert old.rules.look([rule(ENDS)], NOW)
    assert old.names() == [MET]
    new = Process(passed_on(old.rules))
    # The tables were built from these rules already; new ones are harmless.
    new.rules.look([rule(ENDS)], NOW + timedelta(seconds=4))
    assert new.names() == [SUSSEX]
    (told,) = new.told
    assert (told.reference, told.until) == ("DPIA s", "2026-12-01T09:00:02.000Z")  # type: ignore[attr-defined]
    third = Process(passed_on(new.rules))
    third.rules.look([rule(ENDS)], NOW + timedelta(seconds=9))
    assert third.names() == []
    third.rules.look([rule(ENDS)], NOW + timedelta(days=10))
    assert third.names() == [SURREY]


def test_what_the_new_file_has_otherwise_is_no_news() -> None:
    """Another end, or one for an organisation that had none, is another entry; one that is gone is forgotten."""
    old = Process()
    old.rules.look([rule({SUSSEX: ENDS[SUSSEX]})], NOW)
    new = Process(passed_on(old.rules))
    changed = {SUSSEX: NOW + timedelta(seconds=1), MET: ENDS[MET]}
    new.rules.look([rule(changed)], NOW + timedelta(seconds=4))
    assert new.names() == []
    assert {each.organisation for each in new.rules.to_handover()} == {SUSSEX, MET}


def test_a_process_of_before_says_nothing_of_them() -> None:
    new = Process()
    new.rules.look([rule(ENDS)], NOW + timedelta(seconds=4))
    assert new.names() == []
    new.rules.look([rule(ENDS)], NOW + timedelta(days=10))
    assert new.names() == [SURREY]
