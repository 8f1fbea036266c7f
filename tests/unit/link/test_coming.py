"""Links that no path can use now and one can use in a moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pcgrelay.link.coming import TOLD_MS, is_coming
from pcgrelay.link.link import LinkState

NOW_MS = 100_000


def link(state: LinkState = LinkState.UP, *, able: bool = True, draining: bool = False, age_ms: int = 0) -> Any:
    return SimpleNamespace(state=state, able=able, draining=draining, changed_ms=NOW_MS - age_ms)


@pytest.mark.parametrize(
    ("given", "is_told", "expected"),
    [
        # What is ready and told of is there, and not to come.
        (link(), True, False),
        (link(able=False), True, True),
        (link(LinkState.ORPHANED, able=False, age_ms=TOLD_MS), True, True),
        (link(LinkState.CLOSED, able=False), True, False),
        # A neighbour has a while to tell.
        (link(), False, True),
        (link(age_ms=TOLD_MS - 1), False, True),
        (link(age_ms=TOLD_MS), False, False),
        (link(LinkState.OPENING, able=False, age_ms=TOLD_MS), False, True),
        (link(LinkState.ORPHANED, able=False), False, False),
        # One that drains, or was replaced, does not come back.
        (link(draining=True), True, False),
        (link(LinkState.ORPHANED, able=False, draining=True), True, False),
    ],
)
def test_a_link_is_coming(given: Any, is_told: bool, expected: bool) -> None:
    assert is_coming(given, NOW_MS, is_told=is_told) is expected
