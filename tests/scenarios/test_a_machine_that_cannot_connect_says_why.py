"""What keeps this machine from connecting to a target is told by a cause of its own, and not as the target's fault."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.scenarios.kit.network_namespace import own_network
from tests.scenarios.kit.real_programs import run
from tests.support.applications import Across, client, echo, is_turned_away, server, transfer
from tests.support.dialled_targets import serve

pytestmark = pytest.mark.tier_test

ELSEWHERE = ("203.0.113.1", 5_432)
BUSY, UNREACHABLE = 3, 6
Address = tuple[str, int]


@contextlib.contextmanager
def no_local_port(target: Address) -> Iterator[Address]:
    """All ports of this machine are in use towards the target."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("40000 40001\n")
    with client(target), client(target):
        yield target


@contextlib.contextmanager
def forbidden_route(_: Address) -> Iterator[Address]:
    run("ip", "route", "add", "prohibit", f"{ELSEWHERE[0]}/32")
    yield ELSEWHERE


@contextlib.contextmanager
def unreachable_route(_: Address) -> Iterator[Address]:
    run("ip", "route", "add", "unreachable", f"{ELSEWHERE[0]}/32")
    yield ELSEWHERE


@contextlib.contextmanager
def no_route(_: Address) -> Iterator[Address]:
    yield ELSEWHERE


@contextlib.contextmanager
def nobody(_: Address) -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address: Address = closed.getsockname()
    yield address


CASES = [
    (no_local_port, "no-local-port", BUSY),
    (forbidden_route, "connect-forbidden", UNREACHABLE),
    (unreachable_route, "target-unreachable", UNREACHABLE),
    (no_route, "target-unreachable", UNREACHABLE),
    (nobody, "target-refused", UNREACHABLE),
]
RouteOption = Callable[[Address], contextlib.AbstractContextManager[Address]]


@pytest.mark.parametrize(("way", "cause", "code"), CASES, ids=[way.__name__ for way, _, _ in CASES])
def test_the_cause_is_that_of_the_failure(way: RouteOption, cause: str, code: int) -> None:
    with own_network(), server(echo) as target, Across(relays=0) as across:
        before = serve(across, target)
        with way(target) as other:
            address = before if other == target else serve(across, other)
            assert is_turned_away(address)
            event = across.far.wait_kind(native.EVENT_STREAM_END, 20.0)
            assert (event[8], event[9]) == (code, cause)


def test_an_address_that_swallows_what_knocks_is_passed_by() -> None:
    with own_network() as network, server(echo) as silent, server(echo) as target, Across(relays=0) as across:
        network.drop(silent[1])
        address = serve(across, silent, target)
        for _ in range(5):
            assert transfer(address, b"hello") == b"hello"


@pytest.mark.parametrize("way", [forbidden_route, unreachable_route, no_route, nobody])
def test_the_next_address_is_tried_all_the_same(way: RouteOption) -> None:
    with own_network(), server(echo) as target, Across(relays=0) as across, way(target) as other:
        assert transfer(serve(across, other, target), b"hello") == b"hello"
