"""What is cleared for which marking, as the configuration of one node says it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.model import Marking
from pcgrelay.policy.clearances import OPEN, Clearances, Obstacle, clearances_of
from tests.support.documented_config import PATH, documented, written

SENSITIVE, SECRET = 2, 3
RELAY = "spiffe://police.example/org/hub.example/node/relay-1"
OTHER = "spiffe://police.example/org/other.example/node/relay-1"
OWN = "spiffe://police.example/org/kent.police.example/node/relay-9"


def said(bearers: dict[str, str] | None = None, **policy: Any) -> Clearances:
    values = documented()
    values["bearer"] = [{"name": name, "marking": marking} for name, marking in (bearers or {}).items()]
    if not bearers:
        del values["bearer"]
    values["policy"] |= policy
    return clearances_of(config.parse(written(values), PATH))


def test_a_file_that_says_nothing_judges_nothing() -> None:
    assert said() == OPEN
    assert OPEN.clears(SECRET, "internet", (RELAY,))
    assert OPEN.may_transit("psn", "internet")


def test_a_bearer_without_a_table_is_for_official_once_there_is_one() -> None:
    clearances = said({"psn": "OFFICIAL-SENSITIVE"})
    assert clearances.clears(SENSITIVE, "psn", (RELAY,))
    assert clearances.obstacle(SECRET, "psn") == Obstacle("psn", True, SENSITIVE)
    assert clearances.obstacle(SENSITIVE, "internet") == Obstacle("internet", True, 1)
    assert clearances.clears(1, "internet", (OTHER,))


def test_organisations_are_judged_once_the_key_is_there() -> None:
    clearances = said(clearances={"hub.example": "OFFICIAL-SENSITIVE"})
    assert clearances.clears(SENSITIVE, "internet", (RELAY,))
    assert clearances.obstacle(SENSITIVE, "internet", (RELAY, OTHER)) == Obstacle("other.example", False, 1)
    assert clearances.obstacle(SECRET, "internet", (RELAY,)) == Obstacle("hub.example", False, SENSITIVE)
    # An exact name, and nothing below it.
    assert clearances.of_organisation("a.hub.example") == 1


def test_ones_own_organisation_is_no_exception() -> None:
    assert not said(clearances={"hub.example": "OFFICIAL"}).clears(SENSITIVE, "internet", (OWN,))
    assert said(clearances={"kent.police.example": "SECRET"}).clears(SECRET, "internet", (OWN,))


@pytest.mark.parametrize(
    ("bearers", "policy", "passes"),
    [
        (None, {}, True),
        ({"psn": "OFFICIAL"}, {}, False),
        ({"psn": "OFFICIAL"}, {"transit": [["psn", "internet"]]}, True),
        ({"psn": "OFFICIAL"}, {"transit": [["psn", "cjx"]]}, False),
        (None, {"transit": []}, False),
        (None, {"transit": [["internet", "psn"]]}, True),
    ],
)
def test_transit_between_two_bearers_is_named(
    bearers: dict[str, str] | None, policy: dict[str, Any], passes: bool
) -> None:
    clearances = said(bearers, **policy)
    assert clearances.may_transit("psn", "internet") is clearances.may_transit("internet", "psn") is passes
    assert clearances.may_transit("psn", "psn")


MARKINGS = st.sampled_from([marking.value for marking in Marking])
NAMES = st.sampled_from(["hub.example", "other.example", "kent.police.example"])


@given(
    st.dictionaries(st.sampled_from(["psn", "internet"]), MARKINGS),
    st.none() | st.dictionaries(NAMES, MARKINGS, min_size=1),
    st.sampled_from([1, 2, 3]),
    st.sampled_from(["psn", "internet", "cjx"]),
    st.lists(st.sampled_from([RELAY, OTHER, OWN]), max_size=3),
)
def test_what_is_cleared_is_what_each_part_is_cleared_for(
    bearers: dict[str, str], named: dict[str, str] | None, marking: int, bearer: str, relays: list[str]
) -> None:
    order = ["OFFICIAL", "OFFICIAL-SENSITIVE", "SECRET"]
    least = [order.index(bearers.get(bearer, "OFFICIAL"))] if bearers else []
    if named is not None:
        for relay in relays:
            organisation = relay.split("/")[4]
            least.append(order.index(named.get(organisation, "OFFICIAL")))
    policy = {} if named is None else {"clearances": named}
    clearances = said(bearers, **policy)
    assert clearances.clears(marking, bearer, relays) is (marking - 1 <= min(least, default=2))
    assert clearances.highest(bearer, relays) == 1 + min(least, default=2)
