"""UDP lanes between real workers over loopback: datagrams go by them, and by the lanes where they do not."""

from __future__ import annotations

import contextlib
import socket

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.datagrams import ask, client, serve, server
from tests.support.udp_lanes import count, is_up, join, join_all, offer, udp_socket
from tests.support.waiting import until

PROBES = {"probe_interval_ms": 100}


@pytest.mark.parametrize("suite", [1, 2, 3])
def test_datagrams_go_by_udp_lanes_from_edge_to_edge(suite: int) -> None:
    with Across(relays=0, suite=suite, **PROBES) as across, server() as target:
        join_all(across)
        with client(serve(across, target.address)) as asker:
            # The first opens the association, and goes behind its OPEN by the lane.
            assert ask(asker, b"first") == b"first"
            frames = [node.core.counters()["frames_sent_total"] for node in across.nodes]
            taken = [count(node, "packets_taken") for node in across.nodes]
            for number in range(50):
                assert ask(asker, b"%d" % number * 20) == b"%d" % number * 20
            assert all(
                count(node, "packets_taken") >= before + 50 for node, before in zip(across.nodes, taken, strict=True)
            )
            grown = [
                node.core.counters()["frames_sent_total"] - before
                for node, before in zip(across.nodes, frames, strict=True)
            ]
            # PINGs and their answers alone.
            assert all(each < 40 for each in grown), grown


@pytest.mark.parametrize("on", [[0, 1], [0], [1]])
def test_a_relay_forwards_from_and_to_either(on: list[int]) -> None:
    with Across(relays=1, **PROBES) as across, server() as target:
        join_all(across, on)
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"first") == b"first"
            for number in range(50):
                assert ask(asker, b"%d" % number * 20) == b"%d" % number * 20
        taken = [count(node, "packets_taken") for node in across.nodes]
        # What came by a lane goes by the lane, lest it overtakes an OPEN.
        assert (taken[0] >= 50) == (taken[2] >= 50) == (on == [0, 1])
        assert (taken[1] >= 50) == (0 in on or 1 in on)


@pytest.mark.parametrize("size", [0, 1_184, 1_185, 8_000, 65_507])
def test_a_datagram_that_is_too_long_goes_by_the_lane(size: int) -> None:
    data = bytes(at % 251 for at in range(size))
    with Across(relays=1, **PROBES) as across, server() as target:
        join_all(across)
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"first") == b"first"
            before = count(across.near, "frames_too_long")
            assert ask(asker, data) == data
            assert (count(across.near, "frames_too_long") > before) == (size > 1_184)


def test_many_at_once_leave_in_few_messages_and_all_arrive() -> None:
    with Across(relays=1, **PROBES) as across, server(lambda _data, _source: None) as target:
        join_all(across)
        with contextlib.ExitStack() as stack:
            address = serve(across, target.address)
            askers = [stack.enter_context(client(address)) for _ in range(8)]
            for asker in askers:
                asker.send(b"first")
            until(lambda: len(target.seen) == 8)
            across.near.core.freeze()
            # The socket of the import has room for so many.
            for number in range(12):
                for asker in askers:
                    asker.send(b"%4d" % number * 200)
            across.near.core.start()
            until(lambda: len(target.seen) == 8 * 13)
        for node in across.nodes:
            assert count(node, "refused_tag") == count(node, "packets_not_sent") == 0
        assert count(across.near, "packets_sent") >= 96
        assert count(across.near, "sends") < count(across.near, "packets_sent") / 2


def test_two_workers_have_one_each_and_index_decides() -> None:
    with Across(relays=1, lanes=2, workers=2, **PROBES) as across, server() as target:
        nodes = [across.near, across.relays[0], across.far]
        for place, link in enumerate(across.links):
            for index in range(2):
                join(nodes[place], nodes[place + 1], link, index)
        with contextlib.ExitStack() as stack:
            address = serve(across, target.address)
            for _ in range(16):
                asker = stack.enter_context(client(address))
                for number in range(5):
                    assert ask(asker, b"%d" % number) == b"%d" % number
        # Figures are those of the last tick.
        until(lambda: all(row[6] > 16 and row[7] > 16 for row in across.near.core.udp_lanes(across.links[0])))
        rows = across.near.core.udp_lanes(across.links[0])
        assert [(row[0], row[2], row[3]) for row in rows] == [(0, "up", 1200), (1, "up", 1200)]


def test_over_ipv6() -> None:
    with Across(relays=0, **PROBES) as across, server() as target:
        join(across.near, across.far, across.links[0], host="::1")
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"first") == ask(asker, b"first") == b"first"


def test_nothing_goes_where_packets_are_blocked_and_datagrams_go_by_the_lane() -> None:
    with (
        Across(relays=0, **PROBES) as across,
        server() as target,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as black_hole,
    ):
        black_hole.bind(("127.0.0.1", 0))
        port = black_hole.getsockname()[1]
        joined = offer(across.near, across.far, across.links[0], near_port=port, far_port=port)
        silent = (native.EVENT_UDP_LANE_DOWN, joined.link, 0, joined.number, "silent", False)
        for node in (across.near, across.far):
            node.wait(lambda event: event == silent)
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"hello") == b"hello"
        assert count(across.near, "packets_taken") == 0


def test_the_peer_is_where_its_last_packet_came_from() -> None:
    with (
        Across(relays=0, **PROBES) as across,
        server() as target,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as black_hole,
    ):
        black_hole.bind(("127.0.0.1", 0))
        # The acceptor is told a wrong port, as behind a translator of addresses.
        joined = offer(across.near, across.far, across.links[0], near_port=black_hole.getsockname()[1])
        for node in (across.near, across.far):
            is_up(node, joined)
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"hello") == b"hello"


def test_the_next_one_takes_the_place_of_the_last_and_nothing_is_lost() -> None:
    with Across(relays=0, **PROBES) as across, server() as target:
        first = join_all(across)[0].number
        with client(serve(across, target.address)) as asker:
            assert ask(asker, b"first") == b"first"
            second = join_all(across)[0]
            for number in range(20):
                assert ask(asker, b"%d" % number) == b"%d" % number
            for node in (across.near, across.far):
                node.wait(
                    lambda event: event == (native.EVENT_UDP_LANE_DOWN, across.links[0], 0, first, "replaced", True)
                )
            assert ask(asker, b"last") == b"last"
        assert across.near.core.udp_lanes(across.links[0])[0][1] == second.number


def test_the_end_of_a_link_or_socket_ends_its_udp_lanes() -> None:
    with Across(relays=1, **PROBES) as across:
        ((near_link, far_link), relay) = (across.links, across.relays[0])
        first, second = join_all(across)
        relay.core.link_close(near_link, 0)
        relay.wait(lambda event: event == (native.EVENT_UDP_LANE_DOWN, near_link, 0, first.number, "link", True))
        number, _ = udp_socket(relay)
        relay.core.udp_socket_close(number)
        relay.core.udp_lane_close(far_link, 0, second.number)
        relay.wait(lambda event: event == (native.EVENT_UDP_LANE_DOWN, far_link, 0, second.number, "link", True))


def test_what_the_face_refuses() -> None:
    with Across(relays=0, **PROBES) as across:
        near, far, link = across.near.core, across.far.core, across.links[0]
        here, port = udp_socket(across.near)
        there, _ = udp_socket(across.far)
        peer = {"token": 7, "host": "127.0.0.1", "port": port}
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        refused = [
            (lambda: near.udp_socket(0, stream.detach()), "no socket of UDP"),
            (lambda: near.udp_socket(9, socket.socket(socket.AF_INET, socket.SOCK_DGRAM).detach()), "no worker 9"),
            (lambda: near.udp_lane_dial(99, 0, here), "no link 99"),
            (lambda: near.udp_lane_dial(link, 1, here), "no UDP lane 1"),
            (lambda: near.udp_lane_dial(link, 0, 99), "no socket 99"),
            (lambda: far.udp_lane_dial(link, 0, there), "has not dialled"),
            (lambda: near.udp_lane_accept(link, 0, 5, **peer, socket=here), "used-number"),
            (lambda: far.udp_lane_accept(link, 0, 0, **peer, socket=there), "used-number"),
            (lambda: far.udp_lane_accept(link, 0, 500, **peer, socket=there), "used-number"),
            (lambda: far.udp_lane_accept(link, 0, 1, **{**peer, "token": 0}, socket=there), "is 0"),
            (lambda: far.udp_lane_accept(link, 0, 1, **peer, socket=there), "used-number"),
            (lambda: far.udp_lane_accept(link, 0, 2, **{**peer, "host": "::1"}, socket=there), "another family"),
            (lambda: far.udp_lane_accept(link, 0, 3, **{**peer, "host": "far"}, socket=there), "no numeric|not a num"),
            (lambda: near.udp_lane_begin(99, 0, 1, **peer), "no link 99"),
            (lambda: near.udp_socket_close(99), "no socket 99"),
        ]
        for call, words in refused:
            with pytest.raises(native.CoreError, match=words):
                call()


def test_an_empty_packet_is_counted_as_one_that_is_too_short() -> None:
    with Across(relays=0, **PROBES) as across:
        joined = join(across.near, across.far, across.links[0])
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for _ in range(3):
                stranger.sendto(b"", ("127.0.0.1", joined.far_port))
            until(lambda: count(across.far, "refused_length") == 3)
