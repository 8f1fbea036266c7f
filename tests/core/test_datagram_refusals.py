"""What ICMP says of a target is heard, whatever leaves with one call, and each datagram is counted once."""

from __future__ import annotations

import pytest

from tests.support.applications import Across
from tests.support.cores import Node, carried_out
from tests.support.datagrams import client, dropped, serve, server
from tests.support.stream_ends import end_of
from tests.support.waiting import until

SETUP = 12


def count(node: Node, name: str) -> int:
    return node.core.counters()[f"datagrams_{name}_total"]


@pytest.mark.parametrize("many", [1, 2, 3, 10, 60])
def test_a_target_that_is_not_there_is_heard_of_by_the_first_frame(many: int) -> None:
    with server() as target, Across(relays=0) as across:
        address = target.address
        with client(serve(across, address)) as asker:
            target.close()
            across.far.core.freeze()
            for _ in range(many):
                asker.send(b"anybody")
            until(lambda: count(across.near, "sent") == many)
            carried_out(across.near)
            across.far.core.start()
            end = end_of(across.far)
            assert end[9] == "target-refused"
            # What comes in later frames finds no association any more, or begins another one.
            until(lambda: count(across.far, "received") + sum(dropped(across.far).values()) == many)
            assert dropped(across.far).keys() <= {"unreachable", "no_stream"}


def test_one_that_goes_away_is_heard_of_at_the_next_frame() -> None:
    many = 20
    with server() as target, Across(relays=0) as across, client(serve(across, target.address)) as asker:
        asker.send(b"begin")
        assert asker.recv(100) == b"begin"
        target.close()
        across.far.core.freeze()
        for _ in range(many):
            asker.send(b"anybody")
        until(lambda: count(across.near, "sent") == many + 1)
        carried_out(across.near)
        across.far.core.start()
        end = end_of(across.far)
        assert end[9] == "target-refused"
        fields = end[SETUP]
        assert isinstance(fields, tuple)
        received, drops = fields[-2:]
        assert 2 <= received + sum(drops) <= many + 1
        # Each was given to the system, or is counted as not. Those of later frames find no association any more.
        until(lambda: count(across.far, "received") + sum(dropped(across.far).values()) == many + 1)
        assert dropped(across.far).keys() <= {"unreachable", "no_stream"}
