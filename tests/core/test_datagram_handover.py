"""Associations in another core: they go on with the sockets and the numbers that they had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.applications import Across
from tests.support.cores import Node
from tests.support.datagrams import Terms, ask, client, dropped, export_rows, import_rows, serve, server
from tests.support.handover import hand_over
from tests.support.stream_ends import end_of, ends
from tests.support.waiting import until

WAYS = {"edge-edge": (0, 1, 1), "edge-relay-edge": (1, 1, 1), "two-workers": (1, 2, 2)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def across(request: pytest.FixtureRequest) -> Iterator[Across]:
    relays, lanes, workers = request.param
    with Across(relays=relays, lanes=lanes, workers=workers) as built:
        yield built


def replace(across: Across, node: Node, target: tuple[str, int], terms: Terms) -> None:
    if node is across.near:
        hand_over(across, node, imports=import_rows(across.session, terms))
    elif node is across.far:
        hand_over(across, node, exports=export_rows(target, terms=terms))
    else:
        hand_over(across, node)


def test_associations_go_on_in_another_core(across: Across) -> None:
    terms = Terms()
    with server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, terms)
        askers = [stack.enter_context(client(address)) for _ in range(20)]
        for number, asker in enumerate(askers):
            assert ask(asker, b"%d" % number) == b"%d" % number
        ports = [source for _, source in target.seen]
        for node in list(across.nodes):
            replace(across, node, target.address, terms)
            seen = len(target.seen)
            for number, asker in enumerate(askers):
                assert ask(asker, b"again %d" % number) == b"again %d" % number
            assert [source for _, source in target.seen[seen:]] == ports
        assert ends(across.near) == ends(across.far) == []
        assert across.near.core.streams() == across.far.core.streams() == 20
        assert across.near.core.counters()["datagrams_sent_total"] == 20 * (1 + len(across.nodes))
        assert dropped(across.near) == dropped(across.far) == {}


def test_idle_time_goes_on_in_another_core() -> None:
    terms = Terms(idle_ms=2_000)  # longer than both hand-overs take
    with Across(relays=0) as across, server() as target, client(serve(across, target.address, terms)) as asker:
        ask(asker, b"begin")
        for node in list(across.nodes):
            replace(across, node, target.address, terms)
        near, far = end_of(across.near), end_of(across.far)
        assert near[8:10] == far[8:10] == (0, "done")
        assert ask(asker, b"another") == b"another"


def test_bounds_hold_for_clients_of_the_core_before() -> None:
    terms = Terms(associations=3)
    with Across(relays=0) as across, server() as target, contextlib.ExitStack() as stack:
        address = serve(across, target.address, terms)
        askers = [stack.enter_context(client(address)) for _ in range(4)]
        for asker in askers[:3]:
            ask(asker, b"begin")
        replace(across, across.near, target.address, terms)
        ask(askers[3], b"one more")
        until(lambda: len(ends(across.near)) == 1)
        assert across.near.core.streams() == 3
