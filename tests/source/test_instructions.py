"""No change makes a frame or an accept dearer by more than 3 % without saying so: `make bench-count` explains how."""

import json

import pytest

from benches import count


# What is counted takes minutes on a crowded machine, and counts the same.
@pytest.mark.timeout(1_800)
@pytest.mark.slow
def test_no_frame_and_no_accept_costs_more_instructions_than_before() -> None:
    too_dear = count.refusals(count.count(), json.loads(count.BASELINE.read_text()))
    assert too_dear == [], "see benches/count.py: --accept with a reason moves the baseline"


def test_what_is_dearer_is_seen() -> None:
    baseline = json.loads(count.BASELINE.read_text())
    dearer = {name: {kind: cost * 1.04 for kind, cost in counts.items()} for name, counts in baseline["counts"].items()}
    assert len(count.refusals(dearer, baseline)) >= len(dearer)
    assert count.refusals(baseline["counts"], baseline) == []
