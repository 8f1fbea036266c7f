"""All services of datagrams over a round trip of 40 ms that loses one packet in 1,000 or in 100."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.scenarios.kit.datagram_services import EXPORTED, IMPORTED, SERVICES, Clients, dropped, served
from tests.scenarios.kit.distance import Side
from tests.scenarios.kit.long_line import inside, long_line
from tests.scenarios.kit.nodes import Line

pytestmark = pytest.mark.tier_all

ROUND_TRIP_MS = 40
NAMES = 10_000
CASES = [
    pytest.param((topology, lost), id=f"{topology}, {lost / 10} percent")
    for topology in ("edge-edge", "edge-relay-relay-edge")
    for lost in (1, 10)
]


@dataclass
class Far:
    """A line with a long link; clients are near."""

    nodes: Line
    clients: Clients
    near: Side


@pytest.fixture(scope="module", params=CASES)
def far_away(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    topology, lost = request.param
    folder: Path = tmp_path_factory.mktemp("long")
    ways = {"round_trip_ms": ROUND_TRIP_MS, "lost_of_a_thousand": lost}
    with (
        long_line(folder, topology, SERVICES, **ways, exported=EXPORTED, imported=IMPORTED) as (nodes, near, far),
        ExitStack() as stack,
    ):
        with inside(far):
            clients = stack.enter_context(served(folder, nodes))
        yield Far(nodes, clients, near)


@pytest.fixture
def clients(far_away: Far) -> Iterator[Clients]:
    with inside(far_away.near):
        yield far_away.clients


# A question that is lost costs its client five seconds.
@pytest.mark.timeout(300)
def test_names_are_told(far_away: Far, clients: Clients, figure: Callable[[str], None]) -> None:
    before = dropped(far_away.nodes)
    answered = clients.names(NAMES)
    lost = dropped(far_away.nodes) - before
    figure(f"{answered} of {NAMES} names, {lost} dropped by cause")
    assert NAMES - answered <= lost
    assert answered >= NAMES * 95 // 100


def test_radius_admits(clients: Clients) -> None:
    clients.admitted()


def test_kerberos_gives_a_ticket(clients: Clients) -> None:
    clients.ticket()


def test_snmp_answers(clients: Clients) -> None:
    clients.agent()


def test_lines_of_syslog_arrive(far_away: Far, clients: Clients) -> None:
    before = dropped(far_away.nodes)
    missing = clients.lines()
    assert missing <= dropped(far_away.nodes) - before
    assert missing <= 10


def test_calls_are_set_up(clients: Clients) -> None:
    clients.phones()


def test_calls_are_heard(far_away: Far, clients: Clients, figure: Callable[[str], None]) -> None:
    before = dropped(far_away.nodes)
    told = clients.voice()
    figure(
        f"{told.lost} of {told.sent} packets lost; round trip {told.median_ms:.0f} ms, of 99 % below "
        f"{told.p99_ms:.0f} ms, {told.worst_ms:.0f} ms at most; jitter {told.jitter_ms:.1f} ms"
    )
    assert told.median_ms >= ROUND_TRIP_MS
    assert told.lost <= dropped(far_away.nodes) - before
    assert told.lost <= told.sent // 20
