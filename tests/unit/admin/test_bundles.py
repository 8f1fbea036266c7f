"""The realm's bundle in the status: what needs attention, and what fits a terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from pcgrelay.admin.bundles import BundleStatus, bundle_families, bundle_lines, bundle_sentences
from pcgrelay.admin.condition import Condition, condition_of, troubles
from tests.support.healthy_status import HEALTHY

GOOD = BundleStatus(
    epoch=1234,
    not_before=datetime(2030, 1, 1, tzinfo=UTC),
    not_after=datetime(2030, 2, 1, 12, 30, tzinfo=UTC),
    members=("*.police.example", "hub.example"),
    relays=("hub.example",),
    clearances={"hub.example": "SECRET"},
)


def test_a_good_one_needs_nobody() -> None:
    assert list(bundle_sentences(None)) == []
    assert list(bundle_sentences(GOOD)) == []
    assert list(bundle_lines(None)) == []
    (line,) = bundle_lines(GOOD)
    assert line == "realm bundle 1234 until 2030-02-01 (members 2, relays 1, clearances 1)"
    assert len(line) <= 80
    said = list(bundle_lines(replace(GOOD, source="relay-1.hub.example", members=None, relays=None, clearances=None)))
    assert said == ["realm bundle 1234 until 2030-02-01", "realm bundle 1234 was brought by relay-1.hub.example"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"state": "ending"}, "ends on 2030-02-01 12:30 UTC; have the realm sign a new one"),
        ({"state": "expired"}, "expired on 2030-02-01 12:30 UTC, and stays in force"),
        ({"state": "not_yet_valid"}, "is valid from 2030-01-01 00:00 UTC only; look at this machine's clock"),
        ({"is_member": False}, "is no member"),
        ({"is_below": True, "minimum": "9"}, "below the realm's minimum (9)"),
        ({"unkept": "the disk is full"}, "is not kept"),
    ],
)
def test_each_trouble_is_told_and_none_is_grave(changed: dict[str, object], words: str) -> None:
    (sentence,) = bundle_sentences(replace(GOOD, **changed))
    assert words in sentence
    status = replace(HEALTHY, bundle=replace(GOOD, **changed))
    found = troubles(status)
    assert sentence in [each.sentence for each in found]
    assert condition_of(status, found) is Condition.DEGRADED


def test_no_bundle_has_no_samples() -> None:
    assert [samples for _, _, samples in bundle_families(None)] == [[], [], [], []]
    values = {name: samples[0][1] for name, _, samples in bundle_families(GOOD)}
    assert values["realm_bundle_epoch"] == 1234
    assert values["realm_bundle_not_after_timestamp_seconds"] == GOOD.not_after.timestamp()
