"""Associations of an import with outlets in the record of a hand-over.

`outlet_clients_version_3.bin` is such a record, made by `made` of an earlier version: the associations of one listener,
of which one is on its direct outlet, one on the way to it and not answered, one goes by the gateway and one waits for a
session.
"""

from __future__ import annotations

import contextlib
import os
import random
from pathlib import Path

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import frozen_record
from tests.support.datagram_outlets import DatagramOutlets
from tests.support.datagrams import ask, client, server
from tests.support.handover_records import (
    ASSOCIATION,
    DIRECT,
    FLOW,
    HEAD,
    OPENER_HALF,
    SESSION,
    SETUP,
    STREAM,
    TARGET_HALF,
    WAITING,
    WORKER,
    changed,
    figures,
    first,
    is_refused,
    item,
    items,
    read,
    word,
)
from tests.support.waiting import until

KEPT = Path(__file__).with_name("records") / "outlet_clients_version_3.bin"
DESCRIPTORS = 4  # a listener, a lane and two sockets to targets
AN_OPENER, A_TARGET = (WORKER, DIRECT, OPENER_HALF), (WORKER, DIRECT, TARGET_HALF)
A_WAITING = (WORKER, WAITING)
SOCKET, DATAGRAM = 1, 47
SERIAL, ANSWERED = 3, 12
OUTLET = 10
# Which descriptor it is, in the order of all.
OF_ORDER = {(*AN_OPENER, SOCKET), (*A_TARGET, SOCKET)}


def made() -> bytes:
    """The record of an edge as it is described above."""
    with (
        Across(relays=0) as across,
        server() as echo,
        server(lambda _data, _source: None) as quiet,
        contextlib.ExitStack() as stack,
    ):
        outlets = DatagramOutlets(across, echo.address, echo.address)
        askers = [stack.enter_context(client(outlets.address)) for _ in range(4)]
        assert ask(askers[0], b"far") == b"far"
        outlets.publish(shares=200)
        assert ask(askers[1], b"old") == b"old"
        outlets.direct = quiet.address
        outlets.publish(shares=200)
        askers[2].send(b"quiet")
        until(lambda: quiet.seen)
        outlets.publish(state=native.IMPORT_PENDING, wait_ms=10_000)
        askers[3].send(b"waits")
        across.near.wait(lambda event: event[0] == native.EVENT_IMPORT_WANTED)
        until(lambda: across.near.core.counters()["datagrams_received_total"] == 2)
        record, fds = frozen_record(across.near)
        assert len(fds) == DESCRIPTORS
        for fd in fds:
            os.close(fd)
        across.near.core.start()
        return bytes(record)


@pytest.fixture(scope="module", params=["now", "kept"])
def record(request: pytest.FixtureRequest) -> bytes:
    return made() if request.param == "now" else KEPT.read_bytes()


def several(data: bytes, *place: int) -> list[dict[tuple[int, ...], bytes]]:
    """The figures of all items at one place, in any order."""
    found = [figures(value, place) for _, tag, value in items(first(data[HEAD:], *place[:-1])) if tag == place[-1]]
    return sorted(({at: value for at, value in each.items() if at not in OF_ORDER} for each in found), key=repr)


def test_it_is_written_again_as_it_was(record: bytes) -> None:
    core = read(record, DESCRIPTORS)
    assert core.streams() == 4
    again = bytearray(core.handover_size())
    core.handover_write(again)
    core.abandon()
    for count, place in ((2, (WORKER, DIRECT)), (1, A_WAITING), (1, (WORKER, SESSION, FLOW, STREAM))):
        before = several(record, *place)
        assert len(before) == count
        assert several(bytes(again), *place) == before
        assert all((*place, *half, ASSOCIATION, SERIAL) in each for each in before for half in halves(place))
    assert [(*AN_OPENER, ASSOCIATION, ANSWERED) in each for each in several(record, WORKER, DIRECT)].count(True) == 1


def halves(place: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [(OPENER_HALF,)] if place[-1] == DIRECT else [()]


def association_of(record: bytes) -> bytes:
    return item(ASSOCIATION, first(record[HEAD:], *AN_OPENER, ASSOCIATION))


# Of one descriptor more than the record has.
IMPOSSIBLE = {
    "an association with a socket of its own": (AN_OPENER, item(SOCKET, word(DESCRIPTORS))),
    "a half of bytes with an association": (AN_OPENER, item(DATAGRAM, word(0))),
    "an association of a listener that is not there": ((*AN_OPENER, ASSOCIATION), item(SERIAL, word(99))),
    "one of no listener": ((*AN_OPENER, ASSOCIATION), item(SERIAL, word(0))),
    "one on an outlet that cannot be": ((*AN_OPENER, SETUP), item(OUTLET, word(99))),
    "one that waits with a socket": (A_WAITING, item(SOCKET, word(DESCRIPTORS))),
    "one that waits and is of no listener": ((*A_WAITING, ASSOCIATION), item(SERIAL, word(0))),
    "bytes that wait without a socket": (A_WAITING, item(DATAGRAM, word(0))),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_worker_leaves_is_refused(record: bytes, what: str) -> None:
    place, more = IMPOSSIBLE[what]
    assert not is_refused(record, DESCRIPTORS + 1)
    assert is_refused(record[:HEAD] + changed(record[HEAD:], place, more), DESCRIPTORS + 1)


def test_a_target_has_no_association(record: bytes) -> None:
    other = record[:HEAD] + changed(record[HEAD:], A_TARGET, association_of(record))
    assert is_refused(other, DESCRIPTORS)


def test_a_record_with_another_byte_does_no_harm(record: bytes) -> None:
    rng = random.Random(3)
    refused = 0
    for _ in range(200):
        other = bytearray(record)
        other[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        refused += is_refused(bytes(other), DESCRIPTORS)
    assert refused > 0
