"""Associations in the record of a hand-over: those that were kept are read, and what no worker leaves is refused.

`clients_version_3.bin` is an importer with two listeners of datagrams and six clients, one of which was never answered;
`associations_version_3.bin` is the exporter of these, with a socket for each.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.handover_records import (
    ASSOCIATION,
    FLOW,
    HEAD,
    LISTENER,
    SESSION,
    STREAM,
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

RECORDS = Path(__file__).with_name("records")
# And how many descriptors belong to each.
KEPT = {"clients": ("clients_version_3.bin", 3), "associations": ("associations_version_3.bin", 7)}
A_LISTENER = (WORKER, LISTENER)
A_STREAM = (WORKER, SESSION, FLOW, STREAM)
AN_ASSOCIATION = (*A_STREAM, ASSOCIATION)
CLIENT, LOCAL, SERIAL, IDLE, SILENT, ANSWERED, OVERFLOWS = 1, 2, 3, 5, 6, 12, 13
LISTENER_SOCKET, LISTENER_OVERFLOWS = 2, 8
SOCKET, FINISHED, DATAGRAM = 1, 30, 47


def kept(name: str) -> bytes:
    return RECORDS.joinpath(KEPT[name][0]).read_bytes()


def associations(record: bytes) -> list[dict[tuple[int, ...], bytes]]:
    """What is written of each, in the order of the streams."""
    flow = first(record[HEAD:], WORKER, SESSION, FLOW)
    streams = {first(value, 2): value for _, tag, value in items(flow) if tag == STREAM}
    return [figures(first(streams[id_], ASSOCIATION), AN_ASSOCIATION) for id_ in sorted(streams)]


def listeners(record: bytes) -> list[dict[tuple[int, ...], bytes]]:
    """The same of listeners, but for the places of their sockets among all."""
    found = [figures(value, A_LISTENER) for _, tag, value in items(first(record[HEAD:], WORKER)) if tag == LISTENER]
    place = (*A_LISTENER, LISTENER_SOCKET)
    return sorted(({at: value for at, value in each.items() if at != place} for each in found), key=repr)


def written_again(record: bytes, descriptors: int) -> bytes:
    core = read(record, descriptors)
    again = bytearray(core.handover_size())
    core.handover_write(again)
    core.abandon()
    return bytes(again)


@pytest.mark.parametrize("name", KEPT)
def test_a_record_that_was_kept_is_read_and_written_again_as_it_was(name: str) -> None:
    record, descriptors = kept(name), KEPT[name][1]
    core = read(record, descriptors)
    counters = core.counters()
    assert core.streams() == 6
    assert (counters["datagrams_sent_total"], counters["datagrams_received_total"]) == (
        (17, 15) if name == "clients" else (15, 17)
    )
    core.abandon()
    again = written_again(record, descriptors)
    assert len(associations(record)) == 6
    assert associations(again) == associations(record)
    assert [(*AN_ASSOCIATION, ANSWERED) in each for each in associations(again)].count(False) == 1
    assert len(listeners(record)) == (2 if name == "clients" else 0)
    assert listeners(again) == listeners(record)


@pytest.mark.parametrize(
    ("name", "place", "tag"),
    [("clients", A_LISTENER, LISTENER_OVERFLOWS), ("associations", AN_ASSOCIATION, OVERFLOWS)],
)
def test_what_was_told_of_a_full_socket_is_not_told_again(name: str, place: tuple[int, ...], tag: int) -> None:
    record = kept(name)
    told = record[:HEAD] + changed(record[HEAD:], place, item(tag, word(77)))
    again = written_again(told, KEPT[name][1])
    found = listeners(again) if name == "clients" else associations(again)
    assert [each[*place, tag] for each in found if (*place, tag) in each] == [b"\x4d"]


def name_of(record: bytes, which: int) -> bytes:
    """The client, local address and listener of an association."""
    each = associations(record)[which]
    client, address = each[*AN_ASSOCIATION, CLIENT], each[*AN_ASSOCIATION, LOCAL]
    return (
        item(CLIENT, client.ljust(28, b"\0")) + item(LOCAL, address.ljust(20, b"\0"))
        + item(SERIAL, each[*AN_ASSOCIATION, SERIAL].ljust(4, b"\0"))
    )  # fmt: skip


# Of one descriptor more than the record has.
IMPOSSIBLE = {
    "a stream of bytes with an association": ("clients", A_STREAM, item(DATAGRAM, word(0))),
    "an association that waits for a route": (
        "clients",
        (WORKER,),
        item(WAITING, item(SOCKET, word(3)) + item(DATAGRAM, word(1))),
    ),
    "an association that has ended": ("clients", A_STREAM, item(FINISHED, word(1)) + item(SOCKET, word(0xFFFFFFFF))),
    "a client of no listener": ("clients", AN_ASSOCIATION, item(SERIAL, word(0))),
    "a client of a listener that is not there": ("clients", AN_ASSOCIATION, item(SERIAL, word(99))),
    "a client with a socket of its own": ("clients", A_STREAM, item(SOCKET, word(3))),
    "two clients of one name": ("clients", AN_ASSOCIATION, name_of(kept("clients"), 1)),
    "a target's association with a listener": ("associations", AN_ASSOCIATION, item(SERIAL, word(1))),
    "one that is idle at once": ("associations", AN_ASSOCIATION, item(IDLE, bytes(8))),
    "one that is idle at once without an answer": ("associations", AN_ASSOCIATION, item(SILENT, bytes(8))),
}  # fmt: skip


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_worker_leaves_is_refused(what: str) -> None:
    name, place, more = IMPOSSIBLE[what]
    record, descriptors = kept(name), KEPT[name][1]
    assert not is_refused(record, descriptors + 1)
    assert is_refused(record[:HEAD] + changed(record[HEAD:], place, more), descriptors + 1)


@pytest.mark.parametrize("name", KEPT)
def test_a_record_with_another_byte_does_no_harm(name: str) -> None:
    record, descriptors = kept(name), KEPT[name][1]
    rng = random.Random(3)
    refused = 0
    for _ in range(200):
        other = bytearray(record)
        other[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        refused += is_refused(bytes(other), descriptors)
    assert refused > 0
