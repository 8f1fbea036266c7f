"""UDP lanes over a network that repeats, reorders, changes, loses or blocks packets."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.datagrams import Server, ask, client, dropped, serve, server
from tests.support.stream_ends import ends
from tests.support.udp_lanes import Made, Wire, count, join
from tests.support.waiting import until

PROBES = {"probe_interval_ms": 100}


@contextmanager
def one_way(makes: Made) -> Iterator[tuple[Across, Server, socket.socket]]:
    """Two nodes with a UDP lane over such a wire, and a client, whose first datagram has come to a target that says
    nothing.
    """
    with (
        Across(relays=0, **PROBES) as across,
        server(lambda _data, _source: None) as target,
        Wire(makes) as wire,
    ):
        join(across.near, across.far, across.links[0], wire=wire)
        with client(serve(across, target.address)) as asker:
            asker.send(b"first")
            until(lambda: target.seen)
            yield across, target, asker


def down(reason: str) -> object:
    return lambda event: event[0] == native.EVENT_UDP_LANE_DOWN and event[4] == reason


@pytest.mark.parametrize("plain", [False, True], ids=["whole", "plain"])
def test_many_at_once_arrive_whether_the_system_cuts_them_or_not(plain: bool) -> None:
    with Across(relays=0, **PROBES) as across, server(lambda _data, _source: None) as target:
        join(across.near, across.far, across.links[0], plain=plain)
        with client(serve(across, target.address)) as asker:
            asker.send(b"first")
            until(lambda: target.seen)
            for round_ in range(4):
                across.near.core.freeze()
                for number in range(60):
                    asker.send(b"%d %d" % (round_, number) + b"x" * 700)
                across.near.core.start()
                until(lambda wanted=1 + 60 * (round_ + 1): len(target.seen) == wanted)
        sends, packets = count(across.near, "sends"), count(across.near, "packets_sent")
        assert packets > 240
        assert sends == packets if plain else sends < packets / 2
        assert count(across.near, "packets_not_sent") == 0


def test_packets_that_come_twice_or_out_of_order_are_taken_once_each() -> None:
    held_of: dict[bytes, list[bytes]] = {}  # by token: of each direction
    chance = random.Random(11)

    def makes(packet: bytes) -> list[bytes]:
        held = held_of.setdefault(packet[:4], [])
        held.append(packet)
        chance.shuffle(held)
        out, held[:] = held[1:], held[:1]
        return out + [each for each in out if chance.random() < 0.3]

    with one_way(makes) as (across, target, asker):
        for number in range(200):
            asker.send(b"%d" % number)
            until(lambda wanted=number: len(target.seen) >= wanted)
        until(lambda: len(target.seen) == 201)
        assert sorted(data for data, _ in target.seen) == sorted([b"first", *(b"%d" % number for number in range(200))])
        assert count(across.far, "refused_replayed") > 20
        assert count(across.far, "refused_tag") == 0


def test_changed_copies_that_come_first_change_nothing() -> None:
    def makes(packet: bytes) -> list[bytes]:
        places = (16, 35, 50, len(packet) - 1)
        return [*(packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :] for at in places), packet]

    with Across(relays=1, **PROBES) as across, server() as target, Wire(makes) as first, Wire(makes) as second:
        join(across.near, across.relays[0], across.links[0], wire=first)
        join(across.relays[0], across.far, across.links[1], wire=second)
        with client(serve(across, target.address)) as asker:
            for number in range(50):
                assert ask(asker, b"%d" % number) == b"%d" % number
        for node in across.nodes:
            assert count(node, "refused_tag") >= 4 * 50
        assert ends(across.near) == ends(across.far) == []
        assert dropped(across.near) == dropped(across.far) == {}


def test_one_that_falls_silent_is_not_used_and_associations_go_on() -> None:
    with Across(relays=0, **PROBES) as across, server() as target, Wire() as wire:
        join(across.near, across.far, across.links[0], wire=wire)
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"first") == b"first"
            wire.blocked = True
            for node in (across.near, across.far):
                node.wait(down("silent"))
            for number in range(20):
                assert ask(asker, b"%d" % number) == b"%d" % number
            assert across.near.core.udp_lanes(across.links[0])[0][2] == "broken"
        assert ends(across.near) == ends(across.far) == []


def test_one_that_loses_too_much_is_not_used() -> None:
    chance = random.Random(3)
    loss = 0.0

    def makes(packet: bytes) -> list[bytes]:
        return [] if len(packet) < 1_000 and chance.random() < loss else [packet]

    with Across(relays=0, **PROBES) as across, server() as target, Wire(makes) as wire:
        join(across.near, across.far, across.links[0], wire=wire)
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"first") == b"first"
            loss = 0.3

            def lost() -> bool:
                asker.send(b"question")
                across.near.poll()
                return any(event[0] == native.EVENT_UDP_LANE_DOWN for event in across.near.seen)

            until(lost)
        event = next(event for event in across.near.seen if event[0] == native.EVENT_UDP_LANE_DOWN)
        assert event[4:] in (("loss", False), ("silent", False))
        assert across.near.core.udp_lanes(across.links[0])[0][5] > 100_000 or event[4] == "silent"
        assert ends(across.near) == []


def test_until_accept_an_association_goes_by_the_lane() -> None:
    """Else its first datagrams could come before OPEN, and be dropped."""
    own = {12 + 48 + 1_200, 12 + 48 + 16}  # PROBE and REPORT
    seen: list[int] = []

    def makes(packet: bytes) -> list[bytes]:
        if len(packet) not in own:
            seen.append(len(packet))
        return [packet]

    with one_way(makes) as (_, _, asker):
        assert seen == []
        # ACCEPT has come when the other edge has opened the target's socket, and this one has heard of it.
        until(lambda: bool(asker.send(b"next")) and seen)
        assert set(seen) == {12 + 48 + 16 + len(b"next")}
