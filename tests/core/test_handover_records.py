"""The record of a hand-over: what is written is read, kept records of older versions too, and all else is refused."""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across, client, echo, pattern, server
from tests.support.cores import frozen_record
from tests.support.handover_records import (
    DIRECT,
    FLOW,
    HEAD,
    LANE,
    LISTENER,
    OPENER_HALF,
    PATH,
    RETAINED,
    RING,
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
from tests.support.waiting import receive

RECORDS = Path(__file__).with_name("records")


@pytest.fixture(scope="module")
def left() -> Iterator[tuple[bytes, int]]:
    """The record of an edge with a stream that has said something, and how many descriptors belong to it."""
    with server(echo) as target, Across(relays=0) as across, client(across.serve(target)) as connection:
        connection.sendall(pattern(5_000))
        assert len(receive(connection, 5_000)) == 5_000
        record, fds = frozen_record(across.near)
        for fd in fds:
            os.close(fd)
        across.near.core.start()
        yield bytes(record), len(fds)


def test_a_record_is_read_as_it_was_written(left: tuple[bytes, int]) -> None:
    core = read(*left)
    assert core.streams() == 1
    assert core.counters()["application_sent_bytes"] == 5_000
    assert [figures["lanes_up"] for figures in core.links().values()] == [1]
    assert [figures["flows_up"] for figures in core.sessions().values()] == [1]
    core.abandon()


@pytest.mark.parametrize("version", range(native.RECORD_LEAST, native.RECORD_VERSION + 1))
def test_a_record_that_was_kept_is_still_read(version: int) -> None:
    record = RECORDS.joinpath(f"version_{version}.bin").read_bytes()
    assert record[4:6] == struct.pack("<H", version)
    core = read(record, 3)
    assert core.streams() == 1
    assert core.counters()["application_sent_bytes"] == 5_000
    core.abandon()


KEPT = {
    "edge": ("version_2.bin", 3, 1, native.ROLE_EDGE),
    "edge of two workers": ("two_workers_version_2.bin", 6, 2, native.ROLE_EDGE),
    "relay": ("relay_version_2.bin", 4, 2, native.ROLE_RELAY),
    # Three direct streams: one that was led on and has heard the end of its target, one whose target keeps silent, and
    # a shadow beside it. Another stream waits for a session.
    "edge with outlets": ("outlets_version_3.bin", 10, 1, native.ROLE_EDGE),
}


def kept(name: str) -> bytes:
    return RECORDS.joinpath(KEPT[name][0]).read_bytes()


# The step that is due at once, as if a key had sealed all that it may.
STEPS = {(WORKER, LANE, 7, 5), (WORKER, SESSION, FLOW, 2, 5)}
# One count of turns for all imports, which is read no more, and a count for each.
TURNS = {(WORKER, 7), (WORKER, 15)}
# A budget of LOSTs that was never used: it was empty at the start of time, and is full now.
LOSTS = {(WORKER, LANE, 18), (WORKER, LANE, 19)}
# What an older process did not tell: that it knows which ports it has just closed.
PORTS = {(WORKER, 18)}
# The first epoch whose datagram key may be used.
DATAGRAM_KEYS = {(WORKER, SESSION, FLOW, way, 16) for way in (2, 3)} | {(WORKER, LANE, way, 16) for way in (7, 8)}
# How soon the far edge acknowledges: as of old.
ACKS = {(WORKER, SESSION, FLOW, 46)}
ELSE = STEPS | TURNS | LOSTS | PORTS | DATAGRAM_KEYS | ACKS


# Which descriptor it is, in the order of all; and when what is half-closed ends, which begins anew.
OF_ORDER = {(WORKER, WAITING, 1)} | {
    (WORKER, DIRECT, half, tag) for half in (OPENER_HALF, TARGET_HALF) for tag in (1, 16)
}


def several(data: bytes, at: tuple[int, ...]) -> list[dict[tuple[int, ...], bytes]]:
    """The figures of all items at one place, in any order."""
    found = [figures(value, at) for _, tag, value in items(first(data, WORKER)) if tag == at[-1]]
    return sorted(({key: value for key, value in each.items() if key not in OF_ORDER} for each in found), key=repr)


@pytest.mark.parametrize("place", [WAITING, DIRECT])
def test_set_ups_and_direct_streams_are_written_again_as_they_were(place: int) -> None:
    name = "edge with outlets"
    record = kept(name)
    core = read(record, KEPT[name][1])
    again = bytearray(core.handover_size())
    core.handover_write(again)
    core.abandon()
    before = several(record[HEAD:], (WORKER, place))
    assert len(before) == (3 if place == DIRECT else 1)
    assert several(bytes(again[HEAD:]), (WORKER, place)) == before


def test_what_is_read_is_written_again_as_it_was() -> None:
    """Whatever a field is for, it lives on: also what the process before was the only one to know."""
    record = kept("edge")
    slow = changed(
        record[HEAD:], (WORKER, LANE), item(31, word(40_000)) + b"".join(item(tag, word(tag)) for tag in (32, 33, 34))
    )
    core = read(record[:HEAD] + slow, KEPT["edge"][1])
    again = bytearray(core.handover_size())
    core.handover_write(again)
    core.abandon()
    before, after = figures(slow), figures(bytes(again[HEAD:]))
    assert {place: after.get(place) for place in before.keys() - ELSE} == {
        place: value for place, value in before.items() if place not in ELSE
    }
    assert after.keys() - ELSE == before.keys() - ELSE


@pytest.mark.parametrize("name", KEPT)
def test_what_cores_of_other_kinds_left_is_read(name: str) -> None:
    read(kept(name), *KEPT[name][1:]).abandon()


PARTIAL = item(20, bytes(48)) + item(21, word(100)) + item(22, word(1)) + item(23, word(100))
CLOSED = struct.pack("=Q", 1 << 16 | 40_001)
IMPOSSIBLE = {
    "an edge with a path": ("edge", (WORKER,), item(PATH, first(kept("relay")[HEAD:], WORKER, PATH))),
    "a relay with a listener": ("relay", (WORKER,), item(LISTENER, item(1, word(0)) + item(2, word(4)))),
    "a path of more lanes than there are": ("relay", (WORKER, PATH), item(10, word(128))),
    "a waiting stream that is finished": ("edge", (WORKER,), item(WAITING, item(1, word(3)) + item(30, word(1)))),
    "a waiting stream without a socket": ("edge", (WORKER,), item(WAITING, b"")),
    "a waiting stream that has said OPEN": ("edge", (WORKER,), item(WAITING, item(1, word(3)) + item(5, b"\1"))),
    "a ring of ports without a number": ("edge", (WORKER,), item(RING, item(1, word(0)))),
    "two rings of one number": ("edge", (WORKER,), 2 * item(RING, item(1, word(7)) + item(3, bytes(28)))),
    "a port that was closed twice": ("edge", (WORKER,), item(RING, item(1, word(7)) + item(4, 2 * CLOSED))),
    "no port that was closed": ("edge", (WORKER,), item(RING, item(1, word(7)) + item(4, bytes(8)))),
    "a port of a ring that is not there": ("edge", (WORKER, SESSION, FLOW, STREAM), item(44, word(7))),
    "a finished stream with its socket": ("edge", (WORKER, SESSION, FLOW, STREAM), item(30, word(1))),
    "a finished stream with a deadline": (
        "edge",
        (WORKER, SESSION, FLOW, STREAM),
        item(1, word(0xFFFFFFFF)) + item(30, word(1)) + item(16, word(1)),
    ),
    "a finished stream with bytes": (
        "edge",
        (WORKER, SESSION, FLOW, STREAM),
        item(1, word(0xFFFFFFFF)) + item(30, word(1)) + item(32, b"bytes"),
    ),
    "a stream that was shut before its FIN was due": ("edge", (WORKER, SESSION, FLOW, STREAM), item(29, word(1))),
    "a stream that was cut by nobody": ("edge", (WORKER, SESSION, FLOW, STREAM), item(34, word(1))),
    "a retained frame of a lane": ("edge of two workers", (WORKER, SESSION, FLOW, RETAINED), item(3, word(6))),
    "more waits for an answer than there are": ("edge", (WORKER, SESSION, FLOW), item(37, word(64))),
    "a waiting frame of another length": ("edge", (WORKER, LANE), item(29, item(1, word(1)) + item(4, bytes(60)))),
    "a lane that is sealed far ahead": ("edge", (WORKER, LANE), item(31, word(1 << 30))),
    "a number that is too wide": ("edge", (WORKER, SESSION), item(14, bytes(8) + b"\1")),
    "half a CONFIRM that is too long": ("edge", (WORKER, LANE), PARTIAL + item(24, word(1))),
    "a direct stream of no half": ("edge with outlets", (WORKER,), item(DIRECT, b"")),
    "a direct half without a socket": ("edge with outlets", (WORKER, DIRECT, OPENER_HALF), item(1, word(0xFFFFFFFF))),
    "a direct half that is finished": ("edge with outlets", (WORKER, DIRECT, OPENER_HALF), item(30, word(1))),
    "a direct half that has something to say": ("edge with outlets", (WORKER, DIRECT, OPENER_HALF), item(6, b"\1")),
    "a target's half as the opener's": ("edge with outlets", (WORKER, DIRECT, OPENER_HALF), item(24, word(0))),
    "an opener's half as the target's": ("edge with outlets", (WORKER, DIRECT, TARGET_HALF), item(24, word(1))),
    "a set-up of an outlet that cannot be": (
        "edge with outlets",
        (WORKER, DIRECT, OPENER_HALF, SETUP),
        item(10, b"\4"),
    ),
    "a set-up that has failed": ("edge with outlets", (WORKER, DIRECT, OPENER_HALF, SETUP), item(9, b"\1")),
    "a set-up of a stream that was opened to us": ("edge with outlets", (WORKER, WAITING), item(24, word(0))),
    "a break that is not known": ("edge with outlets", (WORKER, DIRECT, OPENER_HALF), item(33, b"\4")),
    "a listener beyond those that are counted": ("edge with outlets", (WORKER, WAITING), item(40, b"\xff\xff")),
    "half a frame of no type": ("edge", (WORKER, LANE), PARTIAL + item(24, word(0x142))),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_worker_leaves_is_refused(what: str) -> None:
    """Nothing could be done with it in order, whoever wrote it."""
    name, place, more = IMPOSSIBLE[what]
    record, (_, descriptors, workers, role) = kept(name), KEPT[name]
    assert not is_refused(record, descriptors + 1, workers, role)
    assert is_refused(record[:HEAD] + changed(record[HEAD:], place, more), descriptors + 1, workers, role)


def test_what_was_left_of_a_budget_is_a_time_now() -> None:
    """An older process wrote how many tokens were left of 100, each of 50 ms, and when it counted them."""
    record = kept("edge")
    spent = changed(record[HEAD:], (WORKER, LANE), item(16, struct.pack("<Q", 9_000_000)) + item(17, word(40)))
    core = read(record[:HEAD] + spent, KEPT["edge"][1])
    again = bytearray(core.handover_size())
    core.handover_write(again)
    core.abandon()
    after = figures(bytes(again[HEAD:]))
    assert int.from_bytes(after[WORKER, LANE, 16], "little") == 9_000_000 + 60 * 50_000
    assert int.from_bytes(after[WORKER, LANE, 17], "little") == 100


def test_a_relay_with_a_session_is_refused() -> None:
    theirs = kept("edge")[HEAD:]
    record, (_, *how) = kept("relay"), KEPT["relay"]
    known = changed(record[HEAD:], (), item(4, first(theirs, 4)))
    assert not is_refused(record[:HEAD] + known, *how)
    # Its stream has no socket, for there are those of lanes only.
    session = changed(first(theirs, WORKER, SESSION), (FLOW,), item(STREAM, b""))
    assert is_refused(record[:HEAD] + changed(known, (WORKER,), item(SESSION, session)), *how)


def test_half_a_frame_of_a_known_length_is_taken() -> None:
    record = kept("edge")
    more = PARTIAL + item(24, word(0x42)) + item(25, word(7))
    assert not is_refused(record[:HEAD] + changed(record[HEAD:], (WORKER, LANE), more), KEPT["edge"][1])


def test_what_is_missing_has_its_default_and_what_is_unknown_is_passed_over(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    *_, (_, tag, worker) = items(record[HEAD:])
    kept = [(number, value) for _, number, value in items(worker) if number not in (1, 4)]
    kept.insert(3, (0x7777, b"of a later version"))
    changed = b"".join(struct.pack("<HI", number, len(value)) + value for number, value in kept)
    before = record[: len(record) - len(worker) - 6]
    core = read(before + struct.pack("<HI", tag, len(changed)) + changed, descriptors)
    assert core.streams() == 0
    assert core.counters()["application_sent_bytes"] == 0
    assert core.counters()["refused_bad_tag_total"] == 0
    assert len(core.sessions()) == 1
    core.abandon()


def test_a_record_that_is_cut_short_is_refused(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    chosen = random.Random(1).sample(range(600, len(record)), 300)
    for length in [*range(600), *chosen]:
        assert is_refused(record[:length], descriptors), length
    assert is_refused(record + b"\0", descriptors)


def test_a_record_with_another_byte_does_no_harm(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    rng = random.Random(2)
    refused = 0
    for _ in range(600):
        changed = bytearray(record)
        changed[rng.randrange(len(record))] ^= 1 << rng.randrange(8)
        refused += is_refused(bytes(changed), descriptors)
    assert refused > 0


def test_every_length_is_looked_at(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    *_, (at, _, worker) = items(record[HEAD:])
    for place, _, value in items(worker):
        for length in {len(value) + 1, 0xFFFFFFFF, 1 << 31}:
            changed = bytearray(record)
            struct.pack_into("<I", changed, HEAD + at + 6 + place + 2, length)
            assert is_refused(bytes(changed), descriptors), (place, length)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda record: b"PCGX" + record[4:], "no state record"),
        (lambda record: record[:4] + struct.pack("<H", native.RECORD_VERSION + 1) + record[6:], "of version"),
        (lambda record: b"", "no state record"),
    ],
)
def test_what_is_no_record_is_refused_by_name(left: tuple[bytes, int], change: Any, words: str) -> None:
    core = native.Core(workers=1, memory_bytes=64 << 20, role=native.ROLE_EDGE)
    with pytest.raises(native.CoreError, match=words):
        core.handover_read(bytearray(change(left[0])), [])
    core.abandon()


def test_another_number_of_workers_or_another_role_is_refused(left: tuple[bytes, int]) -> None:
    for workers, role in ((2, native.ROLE_EDGE), (1, native.ROLE_RELAY)):
        core = native.Core(workers=workers, memory_bytes=64 << 20, role=role)
        with pytest.raises(native.CoreError, match="another role"):
            core.handover_read(bytearray(left[0]), [])
        core.abandon()


def test_descriptors_that_are_missing_or_left_over(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    assert is_refused(record, descriptors - 1)
    core = native.Core(workers=1, memory_bytes=64 << 20, role=native.ROLE_EDGE)
    ends = [socket.socketpair() for _ in range(descriptors + 2)]
    fds = [near.fileno() for near, _ in ends]
    assert core.handover_read(bytearray(record), fds) == fds[-2:]
    core.abandon()
    for pair in ends:
        for end in pair:
            end.close()


def test_a_core_that_has_something_takes_nothing_over(left: tuple[bytes, int]) -> None:
    with Across(relays=0) as across:
        across.near.core.freeze()
        with pytest.raises(native.CoreError, match="no others"):
            across.near.core.handover_read(bytearray(left[0]), [])


def test_a_core_that_runs_neither_takes_over_nor_hands_over(left: tuple[bytes, int]) -> None:
    """What its workers own is theirs alone: two threads in one worker free things twice."""
    with Across(relays=0) as across:
        core = across.near.core
        for call in (
            core.settle,
            core.handover_size,
            lambda: core.handover_write(bytearray(4_096)),
            lambda: core.handover_read(bytearray(left[0]), []),
        ):
            with pytest.raises(native.CoreError, match="freeze it first"):
                call()
        # To start it again changes nothing.
        core.start()
        core.freeze()
        assert core.settle()
        core.start()


def test_a_link_that_was_taken_over_opens_no_lane(left: tuple[bytes, int]) -> None:
    core = read(*left)
    (link,) = core.links()
    with pytest.raises(native.CoreError, match="no lane"):
        core.lane_dial(link, 0)
    with pytest.raises(native.CoreError, match="bad-preamble"):
        core.lane_check(link, bytes(48))
    core.abandon()


# -- datagrams: no number is used or taken twice ----------------------------------------------------------------------

# Containers, and the tags in them.
A_FLOW, SENDER, RECEIVER = (WORKER, SESSION, FLOW), (WORKER, SESSION, FLOW, 2), (WORKER, SESSION, FLOW, 3)
NUMBER, KEPT_KEY, KEPT_IV, DATAGRAMS_FROM = 8, 14, 15, 16
NEXT, REPLAY_NEXT, REPLAY_BITS, STEPPED = 42, 43, 44, 45


def wide(value: int) -> bytes:
    return struct.pack("<Q", value)


def written_again(record: bytes) -> dict[tuple[int, ...], bytes]:
    """What a core that has read this would hand over."""
    core = read(record, KEPT["edge"][1])
    again = bytearray(core.handover_size())
    core.handover_write(again)
    core.abandon()
    return figures(bytes(again[HEAD:]))


def test_numbers_window_and_keys_go_on() -> None:
    values = {
        (*A_FLOW, NEXT): wide(1_000),
        (*A_FLOW, REPLAY_NEXT): wide(5_000),
        (*A_FLOW, REPLAY_BITS): bytes(range(136)),
        (*A_FLOW, STEPPED): wide(7_000_000),
        (*SENDER, KEPT_KEY): bytes(range(32)),
        (*SENDER, KEPT_IV): bytes(range(12)),
        (*SENDER, DATAGRAMS_FROM): word(3),
        (*RECEIVER, DATAGRAMS_FROM): word(2),
    }
    data = kept("edge")[HEAD:]
    for place in (A_FLOW, SENDER, RECEIVER):
        more = b"".join(item(tag, value) for (*of, tag), value in values.items() if tuple(of) == place)
        data = changed(data, place, more)
    again = written_again(kept("edge")[:HEAD] + data)
    # Zeros at the end of a number are not shown.
    assert {place: again[place] for place in values} == {at: value.rstrip(b"\0") for at, value in values.items()}


@pytest.mark.parametrize("direction", [SENDER, RECEIVER], ids=["sender", "receiver"])
def test_after_a_version_that_knows_no_datagrams_the_next_epoch_is_the_first(direction: tuple[int, ...]) -> None:
    """It may have taken over from one that knows them, and not have said what was sealed and taken."""
    before, after = figures(kept("edge")[HEAD:]), written_again(kept("edge"))
    assert (*direction, DATAGRAMS_FROM) not in before
    # 0 is not shown.
    epoch = int.from_bytes(before.get((*direction, NUMBER), b""), "little")
    assert int.from_bytes(after[*direction, DATAGRAMS_FROM], "little") == epoch + 1
    assert (*A_FLOW, NEXT) not in after, "it begins at 0"
