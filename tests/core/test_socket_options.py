"""Options of applications' sockets: what is accepted has all, what is dialled gets keep-alive when a second old."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.applications import Across, client, echo, server
from tests.support.handover import hand_over
from tests.support.socket_options import Options, options_of
from tests.support.waiting import until

Address = tuple[str, int]
YOUNG_S = 1.0
# The defaults of a core: a minute, and a quarter of it four times.
KEPT = Options(no_delay=True, urgent_in_place=True, linger=(1, 0), keep_alive=True, probes=(60, 15, 4))


@pytest.fixture
def across() -> Iterator[Across]:
    with Across(relays=0) as built:
        yield built


@contextlib.contextmanager
def opened(across: Across) -> Iterator[tuple[Address, Address, Address]]:
    """A stream to an echo, answered once: the edges' own ends at the application and at the target, and the target."""
    dialled: list[Address] = []

    def talk(connection: socket.socket) -> None:
        dialled.append(connection.getpeername())
        echo(connection)

    with server(talk) as target, client(across.serve(target)) as connection:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        yield connection.getpeername(), dialled[0], target


def test_what_is_accepted_has_all_from_its_listener(across: Across) -> None:
    with opened(across) as (accepted, _, _):
        assert options_of(accepted) == KEPT


def test_what_is_dialled_gets_keep_alive_when_it_is_a_second_old(across: Across) -> None:
    began = time.monotonic()
    with opened(across) as (_, dialled, _):
        found = options_of(dialled)
        if time.monotonic() - began < YOUNG_S:
            assert not found.keep_alive
        assert found[:3] == KEPT[:3]
        until(lambda: options_of(dialled).keep_alive, what="it is kept alive")
        assert time.monotonic() - began >= YOUNG_S
        until(lambda: options_of(dialled) == KEPT, what="by the probes that are configured")


def test_what_is_young_at_a_hand_over_gets_it_all_the_same(across: Across) -> None:
    with opened(across) as (_, dialled, target):
        hand_over(across, across.far, target)
        until(lambda: options_of(dialled) == KEPT, what="it is kept alive")


@pytest.mark.parametrize("times", [(3_600, 0), (0, 3_600), (3_600, 3_600), (0, 0)])
def test_limits_that_change_meanwhile_do_not_take_it_away(across: Across, times: tuple[int, int]) -> None:
    """Idle and life time of a service go by the same timer."""
    with opened(across) as (_, dialled, _):
        across.far.core.bounds(imports=[], exports=[(0, 0, 0, 0, 3_600, 0)])
        across.far.core.bounds(imports=[], exports=[(0, 0, 0, 0, *times)])
        until(lambda: options_of(dialled) == KEPT, what="it is kept alive")
