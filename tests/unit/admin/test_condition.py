"""Whether a node serves, and what needs attention."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from pcgrelay.admin.condition import Condition, condition_of, troubles
from pcgrelay.admin.metrics import metrics_text
from pcgrelay.admin.server import AdminHandlers, answered
from pcgrelay.admin.status import ConfigurationStatus, LogStatus, MemoryStatus, OutletStatus, Status
from tests.support.healthy_status import HEALTHY
from tests.support.metric_samples import value

FIRST, SECOND = HEALTHY.links
IMPORT, EXPORT = HEALTHY.services
ROUTE, STAND_BY = IMPORT.routes
FULL = MemoryStatus(used_bytes=95, budget_bytes=100, high_water_bytes=95)
DRAINED = replace(HEALTHY, node=replace(HEALTHY.node, draining=True))
REFUSED = ConfigurationStatus(successful=False, reason="No such file.")


def with_routes(*routes: Any) -> Status:
    return replace(HEALTHY, services=(replace(IMPORT, routes=routes), EXPORT))


def test_a_node_without_troubles_is_ready() -> None:
    assert troubles(HEALTHY) == []
    assert condition_of(HEALTHY, []) is Condition.READY


@pytest.mark.parametrize(
    ("ill", "words"),
    [
        (replace(HEALTHY, links=(replace(FIRST, state="down", reason="unreachable"), SECOND)), "is down (unreachable)"),
        (replace(HEALTHY, links=(FIRST, replace(SECOND, state="connecting"))), "is connecting"),
        (replace(HEALTHY, links=(replace(FIRST, lanes_up=3), SECOND)), "3 of 4 lanes"),
        (replace(HEALTHY, links=(replace(FIRST, health="failing", loss=0.5), SECOND)), "50 % of its probes"),
        (replace(HEALTHY, memory=FULL), "nine tenths"),
        (replace(HEALTHY, configuration=REFUSED), "The last reload was refused: No such file."),
        (replace(HEALTHY, log=LogStatus(failing=True)), "log cannot be written"),
    ],
)
def test_a_node_that_serves_all_is_degraded(ill: Status, words: str) -> None:
    (trouble,) = troubles(ill)
    assert words in trouble.sentence
    assert condition_of(ill, [trouble]) is Condition.DEGRADED


@pytest.mark.parametrize(
    ("ill", "words"),
    [
        (replace(HEALTHY, links=()), "No neighbour"),
        (replace(HEALTHY, links=(replace(FIRST, lanes_up=3),)), "3 of 4 lanes"),
        (replace(HEALTHY, links=(replace(FIRST, health="failing", loss=0.5),)), "50 % of its probes"),
        (replace(HEALTHY, services=(replace(IMPORT, state="waiting"),)), "is waiting"),
        (replace(HEALTHY, services=(replace(EXPORT, health="failing"),)), "is failing"),
        (replace(HEALTHY, services=(replace(EXPORT, state="down", health="failing"),)), "is down"),
        (with_routes(replace(ROUTE, well=False)), "has no way that is well"),
        (with_routes(replace(ROUTE, well=False), replace(STAND_BY, state="away")), "has no way that is well"),
    ],
)
def test_a_node_that_cannot_serve_something_is_failing(ill: Status, words: str) -> None:
    (trouble,) = troubles(ill)
    assert words in trouble.sentence
    assert condition_of(ill, [trouble]) is Condition.FAILING


def test_a_node_that_drains_does_so_whatever_else_it_lacks() -> None:
    assert condition_of(DRAINED, troubles(DRAINED)) is Condition.DRAINING
    alone = replace(DRAINED, links=())
    (trouble,) = troubles(alone)
    assert condition_of(alone, [trouble]) is Condition.DRAINING


@pytest.mark.parametrize(
    ("status", "ready", "degraded", "draining"),
    [
        (HEALTHY, 1, 0, 0),
        (replace(HEALTHY, memory=FULL), 1, 1, 0),
        (replace(HEALTHY, links=()), 0, 0, 0),
        (replace(DRAINED, memory=FULL), 0, 0, 1),
    ],
)
def test_metrics_say_the_same(status: Status, ready: int, degraded: int, draining: int) -> None:
    text = metrics_text(status, {})
    told = [value(text, f"pcgrelay_{name}") for name in ("ready", "degraded", "draining")]
    assert told == [ready, degraded, draining]


def test_another_exporter_that_is_well_serves() -> None:
    assert troubles(with_routes(replace(ROUTE, well=False), replace(STAND_BY, state="settling"))) == []


def test_links_that_all_are_lost_fail_a_node_and_are_named_each() -> None:
    ill = replace(HEALTHY, links=(replace(FIRST, state="down"), replace(SECOND, state="down")), memory=FULL)
    found = troubles(ill)
    assert [trouble.is_grave for trouble in found] == [True, True, False]
    assert condition_of(ill, found) is Condition.FAILING


@pytest.mark.parametrize(
    ("status", "code", "body"),
    [
        (HEALTHY, 200, b"ok\n"),
        (replace(HEALTHY, memory=FULL), 200, b"degraded\nMore than nine tenths of the memory budget are in use.\n"),
        (replace(HEALTHY, links=()), 503, b"failing\nNo neighbour is linked.\n"),
        (DRAINED, 503, b"draining\n"),
        (replace(DRAINED, links=()), 503, b"draining\nNo neighbour is linked.\n"),
    ],
)
def test_readiness_is_answered(status: Status, code: int, body: bytes) -> None:
    answer = answered("GET", "/readyz", AdminHandlers(lambda: status, dict))
    assert (answer.code, answer.body) == (code, body)


def test_a_node_that_drains_is_alive() -> None:
    answer = answered("GET", "/healthz", AdminHandlers(lambda: DRAINED, dict))
    assert (answer.code, answer.body) == (200, b"ok\n")


def proxy(gateway: float, **fields: Any) -> Status:
    """An edge with one import, which applications reach over a direct outlet."""
    outlets = (
        OutletStatus(name="gateway", kind="gateway", state="away", share=gateway),
        OutletStatus(name="cjx", kind="direct", state="ready", share=1 - gateway),
    )
    service = replace(IMPORT, routes=(), outlets=outlets, state="ready")
    return replace(HEALTHY, services=(service,), links=(), **fields)


def test_a_plain_proxy_misses_no_neighbour() -> None:
    assert troubles(proxy(0.0)) == []
    # Streams that are for the gateway are led on: somebody expects a neighbour.
    assert [(each.sentence, each.is_grave) for each in troubles(proxy(0.1))] == [("No neighbour is linked.", False)]
    down = replace(proxy(0.0), links=(replace(FIRST, state="down", reason="unreachable"),))
    assert any("is down (unreachable)" in each.sentence for each in troubles(down))
