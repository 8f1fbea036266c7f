"""Associations of imports with outlets in another core: on a direct outlet, on the way to one, or waiting."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.datagram_outlets import DIRECT, GATEWAY, DatagramOutlets
from tests.support.datagrams import Server, Terms, ask, client, dropped, server
from tests.support.handover import hand_over
from tests.support.waiting import until


@pytest.fixture
def across() -> Iterator[Across]:
    with Across(relays=0) as built:
        yield built


@pytest.fixture
def far() -> Iterator[Server]:
    with server(lambda data, _: b"far " + data) as running:
        yield running


@pytest.fixture
def old() -> Iterator[Server]:
    with server(lambda data, _: b"old " + data) as running:
        yield running


def tables(outlets: DatagramOutlets, **options: Any) -> Callable[[], None]:
    """Publish them in the next core, whose meters are its own."""

    def publish() -> None:
        outlets.meter = outlets.near.core.meter_open(2)
        outlets.near.core.publish(exports=[], imports=outlets.rows(**options), grants=[])

    return publish


def test_associations_of_a_direct_outlet_go_on_in_another_core(across: Across, far: Server, old: Server) -> None:
    outlets = DatagramOutlets(across, far.address, old.address)
    with contextlib.ExitStack() as stack:
        askers = [stack.enter_context(client(outlets.address)) for _ in range(10)]
        for asker in askers[:5]:
            assert ask(asker, b"one") == b"far one"
        outlets.publish(shares=200)
        for asker in askers[5:]:
            assert ask(asker, b"one") == b"old one"
        for _ in range(2):
            hand_over(across, across.near, tables=tables(outlets, shares=200))
            for asker in askers[:5]:
                assert ask(asker, b"two") == b"far two"
            for asker in askers[5:]:
                assert ask(asker, b"two") == b"old two"
        assert outlets.counts(DIRECT)["active"] == outlets.counts(GATEWAY)["active"] == 5
        assert len({source for _, source in old.seen}) == len({source for _, source in far.seen}) == 5
        assert across.near.core.streams() == 10
    assert dropped(across.near) == {}


def test_one_that_is_not_answered_yet_goes_on_with_its_set_up(across: Across, far: Server) -> None:
    with server(lambda _data, _source: None) as slow:
        outlets = DatagramOutlets(across, far.address, slow.address, Terms(idle_ms=500))
        outlets.publish(shares=200, patience_ms=60_000)
        with client(outlets.address) as asker:
            asker.send(b"hard question")
            until(lambda: slow.seen)
            hand_over(across, across.near, tables=tables(outlets, shares=200, patience_ms=60_000))
            slow.socket.sendto(b"answer", slow.seen[0][1])
            assert asker.recv(100) == b"answer"
            [(outlet, moved, code, cause, *_)] = outlets.ends()
    assert (outlet, moved, code, cause) == (DIRECT, 0, 0, "done")
    assert {name: outlets.counts(DIRECT)[name] for name in ("up",)} == {"up": 1}
    assert across.near.core.counters()["streams"] == 0


def test_one_that_is_refused_in_the_next_process_is_led_on_there(across: Across, far: Server) -> None:
    """What it had said went with the process before; its client says it again."""
    outlets = DatagramOutlets(across, far.address, None)
    with server(lambda _data, _source: None) as short:
        outlets.direct = short.address
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            asker.send(b"once")
            until(lambda: short.seen)
            hand_over(across, across.near, tables=tables(outlets, shares=200))
            short.close()
            asker.send(b"twice")
            until(lambda: outlets.counts(DIRECT).get("refused") == 1)
            assert ask(asker, b"again") in (b"far twice", b"far again")
    assert across.near.core.streams() == 1


def test_one_that_waits_for_a_session_waits_in_another_core(across: Across, far: Server, old: Server) -> None:
    """And is an association there as it was before: none remains that nobody has."""
    waits = {"state": native.IMPORT_PENDING, "wait_ms": 10_000}
    outlets = DatagramOutlets(across, far.address, old.address, Terms(idle_ms=500))
    outlets.publish(**waits)
    with client(outlets.address) as asker:
        asker.send(b"early")
        across.near.wait(lambda event: event[0] == native.EVENT_IMPORT_WANTED)
        for _ in range(2):
            hand_over(across, across.near, tables=tables(outlets, **waits))
            assert across.near.core.streams() == 1
        # What it had said waited in the process that was replaced.
        assert dropped(across.near) == {"no_stream": 1}
        outlets.publish(wait_ms=10_000)
        assert ask(asker, b"late") == b"far late"
        assert [end[:4] for end in outlets.ends()] == [(GATEWAY, 0, 0, "done")]
    assert old.seen == []
    assert across.near.core.streams() == 0
    assert across.near.core.services()["imports"] == {}


def test_what_finds_no_room_in_the_socket_to_a_direct_target_is_counted(across: Across, far: Server) -> None:
    """In this process and in the next one, each time once."""
    with server() as target:
        outlets = DatagramOutlets(across, far.address, target.address)
        outlets.publish(shares=200)
        with client(outlets.address) as asker:
            ask(asker, b"begin")

            def flood(record: bytearray) -> bytearray:
                for _ in range(2_000):
                    target.socket.sendto(bytes(1_000), target.seen[0][1])
                return record

            def came(count: int) -> bool:
                counters = across.near.core.counters()
                return counters["datagrams_received_total"] + dropped(across.near).get("queue", 0) == count

            across.near.core.freeze()
            flood(bytearray())
            across.near.core.start()
            until(lambda: came(2_001))
            hand_over(across, across.near, tables=tables(outlets, shares=200), change=flood)
            until(lambda: came(4_001))
    assert dropped(across.near).keys() == {"queue"}
