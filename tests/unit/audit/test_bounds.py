"""Bounds of what others can have written to the audit log: nothing stays untold, and nobody takes another's room."""

from __future__ import annotations

from datetime import UTC, datetime

from pcgrelay.audit.bounds import AT_ONCE, Bounds
from pcgrelay.log.audit_events import AuditLeftOut, WitnessNewLog
from pcgrelay.log.throttle import OWNED_MOST

NOW = datetime(2026, 11, 3, tzinfo=UTC)


def begun(peer: str) -> WitnessNewLog:
    return WitnessNewLog(peer=peer, origin="o", old_size=1, old_root="r")


def test_an_organisation_with_names_without_end_leaves_the_others_their_records() -> None:
    bounds = Bounds()
    written = sum(
        bounds.admit(begun(f"met-{number}.met.example"), NOW, "", 0) is not None for number in range(10 * OWNED_MOST)
    )
    assert written == OWNED_MOST + AT_ONCE
    for number in range(100):
        assert bounds.admit(begun(f"kent-{number}.kent.example"), NOW, "", 0) is not None
    # What was left out is told with its number, by the last of them.
    (told,) = bounds.left_out(NOW, "", 1)
    assert isinstance(told.record, WitnessNewLog)
    assert told.record.peer == f"met-{10 * OWNED_MOST - 1}.met.example"
    assert told.suppressed == 9 * OWNED_MOST - AT_ONCE - 1
    # Later it has its part again.
    assert bounds.left_out(NOW, "", 120_000) == []
    assert bounds.admit(begun("met-new.met.example"), NOW, "", 120_000) is not None


def test_more_kinds_than_are_counted_apart_are_told_together() -> None:
    bounds = Bounds(keys_most=2)
    assert [bounds.admit(begun(f"a.{name}.example"), NOW, "", 0) is not None for name in "abcd"] == [
        True, True, False, False,
    ]  # fmt: skip
    (told,) = bounds.left_out(NOW, "", 1)
    assert isinstance(told.record, AuditLeftOut)
    assert told.record.count == 2
