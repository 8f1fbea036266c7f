"""The plan of an import's outlets: who has which share, what is tried next, and how long each may take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.services.outlet_plan import Away, Governed, OutletFact, outlet_plan, patience_ms

ADDRESS = (("10.0.0.1", 5432),)
GATEWAY_AWAY = (Away.NOT, Away.DOWN, Away.UNCLEARED, Away.WAITING)
DIRECT_AWAY = (Away.NOT, Away.UNRESOLVED, Away.LOOP, Away.FAILING, Away.MARKING, Away.REMOVED)


def gateway(away: Away = Away.NOT) -> OutletFact:
    return OutletFact("gateway", 0, away)


def direct(name: str = "cjx", index: int = 1, away: Away = Away.NOT, *, is_supported: bool = True) -> OutletFact:
    return OutletFact(name, index, away, ADDRESS, is_supported=is_supported)


def test_shares_are_dealt_and_the_greatest_is_tried_first() -> None:
    plan = outlet_plan(
        [gateway(), direct(), direct("old", 2)], Governed({"gateway": 10, "cjx": 30, "old": 60}), "gateway"
    )
    assert plan.shares == (10, 30, 60)
    assert plan.order == (2, 1, 0)
    assert [way.addresses for way in plan.ways] == [(), ADDRESS, ADDRESS]


def test_what_is_away_keeps_its_share_and_is_tried_last() -> None:
    plan = outlet_plan([gateway(), direct(away=Away.UNRESOLVED)], Governed({"gateway": 10, "cjx": 90}), "cjx")
    assert plan.shares == (10, 90)
    assert plan.order == (0, 1)
    assert plan.ways[1].addresses == ()
    assert plan.is_served


def test_an_outlet_whose_probe_fails_is_passed_over_unless_it_is_the_last() -> None:
    failing = direct(away=Away.FAILING)
    assert outlet_plan([gateway(), failing], Governed({"cjx": 100}), "cjx").ways[1].addresses == ()
    alone = outlet_plan([gateway(Away.DOWN), failing], Governed({"cjx": 100}), "cjx")
    assert alone.ways[1].addresses == ADDRESS
    assert not alone.is_served


@pytest.mark.parametrize("away", [Away.MARKING, Away.REMOVED])
def test_what_is_forbidden_or_gone_has_nothing(away: Away) -> None:
    plan = outlet_plan(
        [gateway(), direct(away=away), direct("old", 2)], Governed({"gateway": 10, "cjx": 50, "old": 40}), "old"
    )
    assert plan.shares == (10, 0, 90)
    assert 1 not in plan.order
    assert plan.ways[1].addresses == ()
    to_gateway = outlet_plan([gateway(), direct(away=away)], Governed({"cjx": 100}), "cjx")
    assert to_gateway.shares == (100, 0)


def test_what_is_not_supported_any_more_is_no_back_up_and_keeps_its_share() -> None:
    plan = outlet_plan([gateway(), direct(is_supported=False)], Governed({"cjx": 100}), "cjx")
    assert plan.shares == (0, 100)
    assert plan.order == (0,)
    assert plan.ways[1].addresses == ADDRESS
    # With the gateway away too, what is dealt still gets through.
    assert outlet_plan([gateway(Away.DOWN), direct(is_supported=False)], Governed({"cjx": 100}), "cjx").is_served


def test_an_exercise_takes_the_first_back_up_that_is_well_and_in_support() -> None:
    facts = [gateway(), direct(), direct("old", 2)]
    plan = outlet_plan(facts, Governed({"cjx": 100}, exercise=1), "cjx")
    assert (plan.shares, plan.exercised) == ((1, 99, 0), 0)
    # It has a share, and so comes before what has none; the configured one stays first.
    assert plan.order == (1, 0, 2)
    away = outlet_plan([gateway(Away.DOWN), *facts[1:]], Governed({"cjx": 100}, exercise=0.5), "cjx")
    assert (away.shares, away.exercised) == ((0, 99.5, 0.5), 2)


@pytest.mark.parametrize(
    "backup",
    [direct(away=Away.FAILING), direct(away=Away.MARKING), direct(away=Away.REMOVED), direct(is_supported=False)],
)
def test_nothing_is_exercised_that_is_no_back_up(backup: OutletFact) -> None:
    plan = outlet_plan([gateway(), backup], Governed({"gateway": 100}, exercise=1), "gateway")
    assert (plan.shares, plan.exercised) == ((100, 0), None)


def test_an_exercise_takes_no_share_that_the_configured_outlet_has_not() -> None:
    assert (
        outlet_plan([gateway(), direct()], Governed({"gateway": 0, "cjx": 100}, exercise=1), "gateway").exercised
        is None
    )


NAMES = ("gateway", "d1", "d2", "d3")
HALVES = (
    st.lists(st.integers(0, 200), min_size=4, max_size=4)
    .map(sorted)
    .map(lambda cuts: [cuts[0] / 2, (cuts[1] - cuts[0]) / 2, (cuts[2] - cuts[1]) / 2, 100 - cuts[2] / 2])
)


@given(
    HALVES,
    st.sampled_from(GATEWAY_AWAY),
    st.lists(st.tuples(st.sampled_from(DIRECT_AWAY), st.booleans()), min_size=3, max_size=3),
    st.sampled_from([*NAMES, "gone"]),
    st.lists(st.sampled_from(NAMES), unique=True).map(tuple),
    st.frozensets(st.sampled_from(NAMES[1:]), max_size=2),
    st.sampled_from([0.0, 0.5, 1.0, 10.0]),
)
def test_whatever_is_away_shares_are_whole_and_each_is_tried_once(
    shares: list[float],
    away: Away,
    directs: list[tuple[Away, bool]],
    configured: str,
    last: tuple[str, ...],
    without: frozenset[str],
    exercise: float,
) -> None:
    facts = [gateway(away)]
    facts += [direct(f"d{i}", i, why, is_supported=supported) for i, (why, supported) in enumerate(directs, 1)]
    governed = Governed(dict(zip(NAMES, shares, strict=True)), last, without=without, exercise=exercise)
    plan = outlet_plan(facts, governed, configured)
    if plan.exercised is not None:
        assert plan.ways[plan.exercised].away is Away.NOT
        assert plan.shares[plan.exercised] >= exercise
    assert sum(plan.shares) == 100
    assert all(share >= 0 and share * 2 == int(share * 2) for share in plan.shares)
    assert len(set(plan.order)) == len(plan.order)
    assert 0 in plan.order
    assert [NAMES[index] for index in plan.order if NAMES[index] in last] == [
        name for name in last if NAMES.index(name) in plan.order
    ]
    for fact in facts:
        if not fact.is_usable or fact.name in without:
            assert not plan.shares[fact.index]
            assert fact.index not in plan.order
        if fact.away is not Away.NOT and fact.index:
            # Nothing goes there, unless nothing else is left.
            tried = plan.ways[fact.index].addresses
            assert not tried or (
                fact.away is Away.FAILING
                and not any(
                    other.is_supported and other.away is Away.NOT and other.name not in without for other in facts
                )
            )


def test_what_a_governor_puts_last_is_tried_last_even_if_all_else_is_away() -> None:
    facts = [gateway(Away.WAITING), direct(), direct("old", 2, Away.FAILING)]
    plan = outlet_plan(facts, Governed({"cjx": 100}, last=("cjx",), leads_denied=False, wait_ms=2_000), "cjx")
    assert plan.order == (0, 2, 1)
    assert (plan.leads_denied, plan.wait_ms) == (False, 2_000)
    both = outlet_plan(facts, Governed({"gateway": 100}, last=("cjx", "gateway")), "cjx")
    assert both.order == (2, 1, 0)


def test_what_a_governor_leaves_out_has_nothing() -> None:
    facts = [gateway(), direct(), direct("old", 2)]
    plan = outlet_plan(facts, Governed({"cjx": 60, "old": 40}, without=frozenset({"cjx"})), "cjx")
    assert plan.shares == (60, 0, 40)
    assert plan.order == (0, 2)
    assert (plan.ways[1].away, plan.ways[1].addresses) == (Away.RETIRED, ())
    # A network below the marking still ends what is open on it, and the gateway cannot be left out.
    below = outlet_plan([gateway(), direct(away=Away.MARKING)], Governed({}, without=frozenset({"gateway", "cjx"})), "")
    assert [way.away for way in below.ways] == [Away.NOT, Away.MARKING]
    assert below.shares == (100, 0)


@pytest.mark.parametrize(
    ("setups", "most_us", "deadline_ms", "patience"),
    [
        (0, None, 3_000, 1_000),
        (19, 1_000.0, 3_000, 1_000),
        (20, 1_000.0, 3_000, 300),
        (20, 100_000.0, 3_000, 800),
        (20, 2_000_000.0, 3_000, 3_000),
        (20, 2_000_000.0, 60_000, 3_000),
        (0, None, 500, 500),
        (20, 1_000.0, 100, 100),
    ],
)
def test_patience_goes_by_the_set_ups(setups: int, most_us: float | None, deadline_ms: int, patience: int) -> None:
    assert patience_ms(setups, most_us, deadline_ms) == patience
