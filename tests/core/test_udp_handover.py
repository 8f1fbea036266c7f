"""UDP lanes in another core: sockets, numbers and what was taken go on, and no association ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import Node, frozen_record
from tests.support.datagrams import TERMS, ask, client, export_rows, import_rows, serve, server
from tests.support.handover import hand_over
from tests.support.handover_records import HEAD, WORKER, changed, first, is_refused, item, items, word
from tests.support.stream_ends import ends
from tests.support.udp_lanes import count, join, join_all, udp_socket
from tests.support.waiting import until

PROBES = {"probe_interval_ms": 100}
UDP_SOCKET, UDP_LANE = 21, 22


def replace(across: Across, node: Node, target: tuple[str, int]) -> None:
    if node is across.near:
        hand_over(across, node, imports=import_rows(across.session, TERMS))
    elif node is across.far:
        hand_over(across, node, exports=export_rows(target, terms=TERMS))
    else:
        hand_over(across, node)


@pytest.mark.parametrize(("lanes", "workers"), [(1, 1), (2, 2)])
def test_datagrams_go_on_by_udp_lanes_in_another_core(lanes: int, workers: int) -> None:
    with Across(relays=1, lanes=lanes, workers=workers, **PROBES) as across, server() as target:
        nodes = [across.near, across.relays[0], across.far]
        for place, link in enumerate(across.links):
            for index in range(lanes):
                join(nodes[place], nodes[place + 1], link, index)
        with contextlib.ExitStack() as stack:
            address = serve(across, target.address)
            askers = [stack.enter_context(client(address)) for _ in range(8)]
            for asker in askers:
                assert ask(asker, b"begin") == b"begin"
            for node in list(across.nodes):
                replace(across, node, target.address)
                node = across.nodes[across.nodes.index(node)]
                taken, before = count(node, "packets_taken"), node.core.counters()["streams_opened_total"]
                for asker in askers:
                    assert ask(asker, b"again") == b"again"
                assert count(node, "packets_taken") >= taken + 8
                assert node.core.counters()["streams_opened_total"] == before
        assert ends(across.near) == ends(across.far) == []
        for node in across.nodes:
            assert count(node, "refused_tag") == count(node, "refused_replayed") == 0


def test_a_hand_over_is_no_loss_and_its_sockets_keep_their_numbers() -> None:
    with Across(relays=0, **PROBES) as across, server() as target:
        join_all(across)
        hand_over(across, across.near, imports=import_rows(across.session, TERMS))
        link = across.links[0]
        sent = across.near.core.udp_lanes(link)[0][6] if across.near.core.udp_lanes(link) else 0
        # A dozen PROBEs later it would have been noticed.
        until(lambda: across.near.core.udp_lanes(link) and across.near.core.udp_lanes(link)[0][6] > sent + 30)
        for node in across.nodes:
            assert across.near.core.udp_lanes(link)[0][2] == "up"
            assert not [event for event in node.poll() if event[0] == native.EVENT_UDP_LANE_DOWN]
        assert udp_socket(across.near)[0] == 2
        across.near.core.udp_socket_close(1)
        across.near.wait_kind(native.EVENT_UDP_LANE_DOWN)
        with pytest.raises(native.CoreError, match="no UDP lane"):
            across.near.core.udp_lane_dial(link, 0, 2)
        assert target.seen == []


# Tags of a UDP lane, and values that none has.
WRONG = {
    "no such link": (1, 9),
    "no such socket": (2, 9),
    "an index that the link has not": (3, 1),
    "token 0": (5, 0),
    "an address that is too long": (8, 29),
    "in use, and its peer is nowhere": (8, 0),
    "in use, and its peer's token is not known": (6, 0),
    "in use, and not up": (21, 3),
    "closed": (21, 0),
    "no state": (21, 4),
    "no body": (22, 0),
    "too long a body": (22, 1_201),
}


@pytest.fixture(scope="module")
def left() -> Iterator[tuple[bytes, int]]:
    """The record of an edge with a UDP lane, and how many descriptors belong to it."""
    with Across(relays=0, **PROBES) as across:
        join_all(across)
        record, fds = frozen_record(across.near)
        for fd in fds:
            os.close(fd)
        yield bytes(record), len(fds)


def test_the_record_is_read_as_it_was_written(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    assert not is_refused(record, descriptors)
    (lane,) = [value for _, tag, value in items(first(record[HEAD:], WORKER)) if tag == UDP_LANE]
    assert {tag for _, tag, _ in items(lane)} == set(range(1, 27))


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_in_a_record_is_refused(left: tuple[bytes, int], what: str) -> None:
    record, descriptors = left
    tag, value = WRONG[what]
    body = changed(record[HEAD:], (WORKER, UDP_LANE), item(tag, word(value)))
    assert is_refused(record[:HEAD] + body, descriptors)


def test_two_of_one_token_or_socket_number_are_refused(left: tuple[bytes, int]) -> None:
    record, descriptors = left
    for tag in (UDP_SOCKET, UDP_LANE):
        value = first(record[HEAD:], WORKER, tag)
        body = b"".join(
            item(each, inner + (item(tag, value) if each == WORKER else b"")) for _, each, inner in items(record[HEAD:])
        )
        assert is_refused(record[:HEAD] + body, descriptors)
