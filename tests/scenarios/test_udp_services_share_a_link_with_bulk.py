"""Names, RADIUS, Kerberos, SNMP, syslog and SIP beside eight streams that send without end on the same link."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.scenarios.kit.datagram_services import EXPORTED, IMPORTED, SERVICES, Clients, dropped, served
from tests.scenarios.kit.nodes import Line, Stage, line
from tests.scenarios.kit.streaming import Sink, bulk

pytestmark = pytest.mark.tier_all

BULK_STREAMS = 8
NAMES = 10_000


@dataclass
class Busy:
    """A line whose link is full."""

    nodes: Line
    clients: Clients
    sink: Sink


@pytest.fixture(scope="module", params=["edge-edge", "edge-relay-relay-edge"])
def busy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    folder = tmp_path_factory.mktemp(request.param)
    with Stage(folder) as stage, ExitStack() as stack:
        exports, imports = dict.fromkeys(SERVICES, EXPORTED), dict.fromkeys(SERVICES, IMPORTED)
        nodes = line(stage, request.param, ["bulk"], odd_exports=exports, odd_imports=imports)
        nodes.start()
        clients = stack.enter_context(served(folder, nodes))
        sink = stack.enter_context(Sink(nodes.target("bulk")))
        stack.enter_context(bulk(nodes.door("bulk"), BULK_STREAMS))
        yield Busy(nodes, clients, sink)


@pytest.fixture(autouse=True)
def bulk_goes_on(busy: Busy, figure: Callable[[str], None]) -> Iterator[None]:
    """Whatever is asked meanwhile, the streams carry on."""
    before, began = busy.sink.taken, time.monotonic()
    yield
    rate = (busy.sink.taken - before) / (time.monotonic() - began) / 1e6
    figure(f"beside {rate:.0f} MB/s")
    assert rate > 0


# A question that is lost costs its client five seconds.
@pytest.mark.timeout(300)
def test_names_are_told(busy: Busy, figure: Callable[[str], None]) -> None:
    before = dropped(busy.nodes)
    answered = busy.clients.names(NAMES)
    lost = dropped(busy.nodes) - before
    figure(f"{answered} of {NAMES} names, {lost} dropped by cause")
    assert NAMES - answered <= lost
    assert answered >= NAMES * 99 // 100


def test_radius_admits(busy: Busy) -> None:
    busy.clients.admitted()


def test_kerberos_gives_a_ticket(busy: Busy) -> None:
    busy.clients.ticket()


def test_snmp_answers(busy: Busy) -> None:
    busy.clients.agent()


def test_lines_of_syslog_arrive(busy: Busy) -> None:
    before = dropped(busy.nodes)
    missing = busy.clients.lines()
    assert missing <= dropped(busy.nodes) - before
    assert missing <= 2


def test_calls_are_set_up(busy: Busy) -> None:
    busy.clients.phones()
