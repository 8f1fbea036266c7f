"""What is in force of a configuration: rules whose last day is over allow nothing, and harm nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay import config
from pcgrelay.config import Config
from pcgrelay.model import Priority
from pcgrelay.policy.in_force import ending_rules, in_force
from pcgrelay.policy.rules import export_rules, granted
from tests.support.documented_config import PATH, approved, written

LAST = datetime(2027, 3, 31, 23, 59, 59, 999_999, tzinfo=UTC)
OVER = datetime(2027, 4, 1, tzinfo=UTC)


def read(change: Callable[[dict[str, Any]], Any] = lambda values: None) -> Config:
    values = approved()
    change(values)
    return config.parse(written(values), PATH)


def later(*kept: str) -> Callable[[dict[str, Any]], Any]:
    """All rules of these tables have a later end than the others."""

    def change(values: dict[str, Any]) -> None:
        for table in kept:
            for entry in [values["policy"]["paper"]] if table == "policy" else values[table]:
                entry["until"] = date(2028, 1, 1)

    return change


def test_to_the_last_moment_of_its_last_day_all_of_it_is_in_force() -> None:
    whole = read()
    assert in_force(whole, LAST) is whole
    assert granted(export_rules(whole.exports), "met.police.example", LAST) == (0,)


def test_from_the_next_moment_on_nothing_is_allowed() -> None:
    left = in_force(read(), OVER)
    assert (left.listens, left.links, left.imports, left.directs) == ((), (), (), ())
    assert left.policy.members == ()
    assert not left.policy.admits("met.police.example")
    # Its rule keeps its number and its words, and grants nothing; nor does it listen for those who come the old way.
    (export,) = left.exports
    assert export.also == ()
    rules = export_rules(left.exports)
    assert granted(rules, "met.police.example", OVER) == ()
    assert "until 2027-03-31" in rules[0].text


def test_a_list_of_relays_ends_with_its_paper() -> None:
    assert in_force(read(), OVER).policy.relays is None
    lists = {"relays": ["hub.example"], "clearances": {"hub.example": "SECRET"}, "transit": [["psn", "internet"]]}
    listed = read(lambda values: values["policy"].update(lists))
    assert in_force(listed, OVER).policy.relays == ()
    assert not in_force(listed, OVER).policy.may_relay("hub.example")
    assert (in_force(listed, OVER).policy.clearances, in_force(listed, OVER).policy.transit) == ((), ())


def test_an_import_whose_outlet_has_ended_is_for_the_gateway() -> None:
    def change(values: dict[str, Any]) -> None:
        later("import")(values)
        values["import"][0].update(outlet="cjx", exercise=1)

    (entry,) = in_force(read(change), OVER).imports
    assert (entry.outlet, entry.exercise) == ("gateway", 0.0)


@pytest.mark.parametrize("table", ["policy", "listen", "link", "export", "import", "direct"])
def test_each_rule_ends_alone(table: str) -> None:
    others = [each for each in ("policy", "listen", "link", "export", "import", "direct") if each != table]
    whole = read(later(*others))
    left = in_force(whole, OVER)
    assert left != whole
    sizes = {
        "policy": bool(left.policy.members),
        "listen": len(left.listens),
        "link": len(left.links),
        "export": len(granted(export_rules(left.exports), "met.police.example", OVER)),
        "import": len(left.imports),
        "direct": len(left.directs),
    }
    assert [name for name, size in sizes.items() if not size] == [table]


def test_rules_are_named_for_people() -> None:
    assert [rule.name for rule in ending_rules(read())] == [
        "policy members and relays",
        "listen 127.0.0.1:7400 on psn",
        "link relay-1.hub.example at 127.0.0.1:7400",
        "export custody",
        "import custody@kent.police.example",
        "direct cjx of custody@kent.police.example",
    ]


@given(st.integers(0, 250_000_000_000), st.integers(0, 5))
def test_twice_is_as_once_and_at_no_time_it_fails(moment_s: int, which: int) -> None:
    whole = read(later(*["policy", "listen", "link", "export", "import"][:which]))
    now = datetime.fromtimestamp(moment_s, UTC)
    left = in_force(whole, now)
    assert in_force(left, now) == left
    # Later there is never more.
    after = in_force(whole, now + timedelta(days=1))
    assert {link.address for link in after.links} <= {link.address for link in left.links}
    before, then = (
        granted(export_rules(each.exports), "met.police.example", now, Priority.NORMAL) for each in (left, after)
    )
    assert set(then) <= set(before)
