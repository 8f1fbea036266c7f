"""State and routes of imports."""

from __future__ import annotations

import pytest

from pcgrelay.catalogue.entries import (
    STATE_DOWN,
    STATE_DRAIN,
    Catalogue,
    Offer,
    ReceivedEntry,
    SignedEntry,
    VerifiedEntry,
)
from pcgrelay.model import NodeId, ServiceName, Transport
from pcgrelay.services.imports import (
    ROUTES_MOST,
    Exporter,
    ImportState,
    SessionFact,
    SessionHealth,
    exporters_of,
    import_plan,
    offers_of,
)

KENT = "kent.police.example"
ONE, TWO, THREE = (NodeId("police.example", KENT, f"kent-{number}") for number in (1, 2, 3))
MET = NodeId("police.example", "met.police.example", "met-1")
SERVICE, MAIL = ServiceName("custody", KENT), ServiceName("mail", KENT)


def catalogue(*entries: tuple[NodeId, Offer]) -> Catalogue:
    table = Catalogue()
    for edge, offer in entries:
        table.put(1, ReceivedEntry(VerifiedEntry(SignedEntry(b"", b"", ()), edge, 1, 9, (offer,)), ()))
    return table


def _exporters(table: Catalogue) -> list[Exporter]:
    return exporters_of(offers_of(table, [SERVICE])[SERVICE])


def test_only_the_owners_edges_export() -> None:
    table = catalogue((MET, Offer("custody", 1)), (ONE, Offer("custody", 2)), (TWO, Offer("mail", 1)))
    offers = offers_of(table, [SERVICE, MAIL, ServiceName("custody", "hub.example")])
    found = [exporters_of(each) for each in offers.values()]
    assert found == [[Exporter(ONE, 2, 2, 100)], [Exporter(TWO, 1, 2, 100)], []]


@pytest.mark.parametrize("offered", [*Transport, 2])
@pytest.mark.parametrize("wanted", Transport)
def test_an_edge_that_offers_it_over_another_transport_does_not_export_it(offered: int, wanted: Transport) -> None:
    """2 is of a later version: nobody here wants it, and its entry is taken."""
    table = catalogue((ONE, Offer("custody", 1, transport=offered)))
    found = exporters_of(offers_of(table, [SERVICE])[SERVICE], transport=wanted)
    assert [each.edge for each in found] == ([ONE] if offered == wanted else [])


def test_what_only_says_that_it_is_down_is_known() -> None:
    assert offers_of(catalogue((ONE, Offer("custody", 1, state=STATE_DOWN))), [SERVICE, MAIL]) == {
        SERVICE: [(ONE, Offer("custody", 1, state=STATE_DOWN))],
        MAIL: [],
    }


def test_preferred_edges_come_first_and_leaving_ones_not_at_all() -> None:
    table = catalogue(
        (ONE, Offer("custody", 1, 3)), (TWO, Offer("custody", 1, 1)), (THREE, Offer("custody", 1, state=STATE_DRAIN))
    )
    assert [exporter.edge for exporter in _exporters(table)] == [TWO, ONE]
    assert _exporters(catalogue((ONE, Offer("custody", 1, state=STATE_DOWN)))) == []


EXPORTER = Exporter(ONE, 2, 1, 70)


@pytest.mark.parametrize(
    ("health", "failures", "state", "routes"),
    [
        (SessionHealth.UP, 0, ImportState.LIVE, ((5, 1, 70),)),
        (SessionHealth.UP, 9, ImportState.LIVE, ((5, 1, 70),)),
        (SessionHealth.STALLED, 9, ImportState.PENDING, ()),
        (SessionHealth.SETTING_UP, 1, ImportState.PENDING, ()),
        (SessionHealth.NONE, 0, ImportState.PENDING, ()),
        (SessionHealth.NONE, 2, ImportState.DOWN, ()),
        (SessionHealth.SETTING_UP, 2, ImportState.DOWN, ()),
    ],
)
def test_one_exporter(
    health: SessionHealth, failures: int, state: ImportState, routes: tuple[tuple[int, int, int], ...]
) -> None:
    plan = import_plan([EXPORTER], lambda exporter: [SessionFact(health, 5, failures)], starting=False)
    assert (plan.state, plan.routes, plan.marking) == (state, routes, 2)


@pytest.mark.parametrize(("starting", "state"), [(True, ImportState.PENDING), (False, ImportState.DOWN)])
def test_nobody_exports(starting: bool, state: ImportState) -> None:
    assert import_plan([], lambda exporter: [], starting=starting).state is state


@pytest.mark.parametrize(
    ("bars", "failures", "expected"),
    [
        ({ONE: True, TWO: True}, 2, True),
        ({ONE: True, TWO: None}, 2, True),  # to the other one leads no way at all
        ({ONE: True, TWO: False}, 2, False),  # a cleared way is there, and something else is wrong
        ({ONE: None, TWO: None}, 2, False),
        ({ONE: True, TWO: True}, 1, False),  # a stream still waits for the next attempt
    ],
)
def test_an_import_is_barred_where_ways_are_there_and_none_is_cleared(
    bars: dict[NodeId, bool | None], failures: int, expected: bool
) -> None:
    exporters = [Exporter(ONE, 2, 1, 50), Exporter(TWO, 2, 1, 50)]
    facts = [SessionFact(SessionHealth.NONE, 0, failures)]
    plan = import_plan(exporters, lambda each: facts, starting=False, is_barred=lambda each: bars[each.edge])
    assert plan.is_barred is expected
    assert plan.state is (ImportState.PENDING if failures < 2 else ImportState.DOWN)


def test_one_live_session_is_enough_and_each_edge_counts_once() -> None:
    facts = {
        ONE: [SessionFact(SessionHealth.UP, 1, 0), SessionFact(SessionHealth.UP, 2, 0)],
        TWO: [SessionFact(SessionHealth.STALLED, 3, 0)],
        THREE: [SessionFact(SessionHealth.UP, 4, 0)],
    }
    exporters = [Exporter(ONE, 1, 1, 50), Exporter(TWO, 1, 1, 50), Exporter(THREE, 3, 3, 0)]
    plan = import_plan(exporters, lambda exporter: facts[exporter.edge], starting=False)
    assert plan.routes == ((1, 1, 50), (4, 3, 0))
    assert plan.marking == 3


@pytest.mark.parametrize(("said", "most", "priority"), [(0, 2, 0), (2, 2, 2), (2, 1, 1), (1, 0, 0)])
def test_the_lesser_class_holds(said: int, most: int, priority: int) -> None:
    table = catalogue((ONE, Offer("custody", 1, priority=said)))
    (exporter,) = exporters_of(offers_of(table, [SERVICE])[SERVICE], most)
    assert exporter.priority == priority
    plan = import_plan([exporter], lambda each: [SessionFact(SessionHealth.UP, 5, 0)], starting=False)
    assert plan.priority == priority


def test_an_edge_that_was_away_comes_after_all_others() -> None:
    exporters = [Exporter(ONE, 1, 1, 100), Exporter(TWO, 1, 3, 100)]

    def facts(exporter: Exporter) -> list[SessionFact]:
        return [SessionFact(SessionHealth.UP, 1 if exporter.edge == ONE else 2, 0, is_steady=exporter.edge == TWO)]

    assert import_plan(exporters, facts, starting=False).routes == ((1, 4, 100), (2, 3, 100))
    # Alone it is taken nevertheless.
    assert import_plan(exporters[:1], facts, starting=False).state is ImportState.LIVE


def test_of_more_edges_than_an_import_can_have_the_best_stay() -> None:
    edges = [NodeId("police.example", KENT, f"kent-{number}") for number in range(ROUTES_MOST + 6)]
    exporters = [Exporter(edge, 1, 3 if number < 4 else 2, 100) for number, edge in enumerate(edges)]
    exporters[-1] = Exporter(edges[-1], 1, 2, 0)
    numbers = {exporter.edge: number for number, exporter in enumerate(exporters, 1)}

    def facts(exporter: Exporter) -> list[SessionFact]:
        return [SessionFact(SessionHealth.UP, numbers[exporter.edge], 0, is_steady=numbers[exporter.edge] != 6)]

    plan = import_plan(exporters, facts, starting=False)
    assert plan.state is ImportState.LIVE
    # Left out: the four back-ups, the one that was away, and the one that gets streams only without others.
    assert plan.left_out == {1, 2, 3, 4, 6, ROUTES_MOST + 6}
    assert {session for session, _, _ in plan.routes} == set(numbers.values()) - plan.left_out
    fewer = import_plan(exporters[:ROUTES_MOST], facts, starting=False)
    assert (len(fewer.routes), fewer.left_out) == (ROUTES_MOST, frozenset())
