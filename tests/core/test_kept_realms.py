"""Realms that an earlier commit left in the middle of a step go on in this one: tests/core/records/make.py makes them.

Their nodes were handed over all at once: the newest secrets are kept, the step of the near edge lies unread in the far
edge's socket, and that of its lane in the relay's. The clock of the machine that wrote them was another one, so times
are moved by the difference. Numbers, keys and bytes are as they were.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pcgrelay._core.face import core as native
from tests.core.records.make import BEFORE, LINK_SECRETS, SESSION_SECRETS, TO_FAR, TO_RELAY
from tests.support.applications import echo, pattern, server, transfer
from tests.support.cores import Node, tcp_pair
from tests.support.handover_records import CONTAINERS, FLOW, HEAD, LANE, SESSION, STREAM, WORKER, first, item, items
from tests.support.renewed import secret, until
from tests.support.waiting import receive

REALMS = sorted(Path(__file__).with_name("records").glob("commit_*"))
ROLES = {"near": native.ROLE_EDGE, "relay": native.ROLE_RELAY, "far": native.ROLE_EDGE}
WHOLE = pattern(BEFORE + TO_FAR + TO_RELAY)

AT_LANE, AT_FLOW = (WORKER, LANE), (WORKER, SESSION, FLOW)
TIMES = {
    *((*AT_LANE, tag) for tag in (11, 12, 14, 16, 18, 32, 36)),
    *((*AT_FLOW, tag) for tag in (17, 20, 21, 22, 25, 26, 40)),
    *((*AT_FLOW, STREAM, tag) for tag in (12, 14, 16, 35)),
    *((*at, 7) for at in ((*AT_LANE, 7), (*AT_LANE, 8), (*AT_FLOW, 2), (*AT_FLOW, 3))),
}


def moved(data: bytes, by_us: int, at: tuple[int, ...] = ()) -> bytes:
    """A container with all its times later by so much; zero is no time."""
    made = b""
    for _, tag, value in items(data):
        place = (*at, tag)
        if place in TIMES and any(value):
            time_us = max(1, int.from_bytes(value, "little") + by_us)
            value = time_us.to_bytes(8, "little")
        made += item(tag, moved(value, by_us, place) if place in CONTAINERS else value)
    return made


class Kept:
    """One of these realms, read by cores of this commit and not started yet."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.facts: dict[str, Any] = json.loads((folder / "realm.json").read_text())
        self.session: int = self.facts["session"]
        self.links: list[int] = self.facts["links"]
        self.records = {name: (folder / f"{name}.bin").read_bytes() for name in ROLES}
        self.applications: dict[str, socket.socket] = {}
        descriptors = self._descriptors(stack)
        by_us = time.monotonic_ns() // 1_000 - self.facts["clock_us"]
        self.nodes: dict[str, Node] = {}
        for name, role in ROLES.items():
            record = self.records[name]
            # A node of a core that is not started and has read this.
            node = Node.__new__(Node)
            node.core, node.seen = native.Core(workers=1, memory_bytes=64 << 20, role=role), []
            whole = bytearray(record[:HEAD] + moved(record[HEAD:], by_us))
            assert node.core.handover_read(whole, descriptors[name]) == []
            stack.callback(node.core.stop)
            self.nodes[name] = node

    def _descriptors(self, stack: ExitStack) -> dict[str, list[int]]:
        """New sockets in the places of those that the nodes had, each with what the old one had not read."""
        made: dict[str, list[socket.socket]] = {}
        ends: dict[tuple[int, int], socket.socket] = {}
        for name, sockets in self.facts["sockets"].items():
            made[name] = []
            for was in sockets:
                if was["kind"] == "listener":
                    end = socket.create_server(("127.0.0.1", 0))
                    self.address: tuple[str, int] = end.getsockname()
                else:
                    place = was["here"], was["there"]
                    if place not in ends:
                        ends[place], ends[place[::-1]] = tcp_pair()
                    end = ends[place]
                    ends[place[::-1]].sendall(bytes.fromhex(was["unread"]))
                made[name].append(end)
        of_nodes = [end for sockets in made.values() for end in sockets]
        for end in ends.values():
            if end not in of_nodes:
                # It was one of an application; of those an edge has one.
                (name,) = (name for name, sockets in made.items() if self._other(ends, end) in sockets)
                self.applications[name] = stack.enter_context(end)
        for end in of_nodes:
            end.setblocking(False)
        return {name: [end.detach() for end in sockets] for name, sockets in made.items()}

    @staticmethod
    def _other(ends: dict[tuple[int, int], socket.socket], end: socket.socket) -> socket.socket:
        (place,) = (place for place, known in ends.items() if known is end)
        return ends[place[::-1]]

    def start(self, target: tuple[str, int]) -> None:
        """The tables are the control plane's, and come before the first frame."""
        rows = [(0, b"echo", 1, 0, native.EXPORT_READY, 2000, [target])]
        routes = [(self.session, 2, 100)]
        self.nodes["far"].core.publish(exports=rows, imports=[], grants=[(self.session, [0])])
        self.nodes["near"].core.publish(exports=[], imports=[(0, b"echo", 1, 0, native.IMPORT_LIVE, routes)], grants=[])
        for node in self.nodes.values():
            # As when they were left: nobody takes one that was stopped for some seconds for one that is dead.
            node.core.settings(probe_interval_ms=60_000)
            node.core.start()

    def renew(self, number: int) -> None:
        """A whole renewal of all links and of the session."""
        near, relay, far = self.nodes.values()
        for node in (near, far):
            node.core.session_renew(self.session, secret=secret(SESSION_SECRETS.format(number)), mix=number)
            node.wait(lambda event: event == (native.EVENT_SESSION_RENEWED, self.session, number))
        for link, pair in zip(self.links, pairwise((near, relay, far)), strict=True):
            for node in pair:
                node.core.link_renew(link, secret=secret(LINK_SECRETS.format(number)), mix=number)
                node.wait(lambda event, link=link: event == (native.EVENT_LINK_RENEWED, link, number))
        self.agree(number)

    def agree(self, number: int) -> None:
        near, relay, far = self.nodes.values()
        for node in (near, far):
            node.core.session_mix(self.session, number)
        for link, pair in zip(self.links, pairwise((near, relay, far)), strict=True):
            for node in pair:
                node.core.link_mix(link, number)

    def mixes(self) -> dict[str, list[int]]:
        """With which renewal the others have stepped, as each node has seen it: of its session, then of its links."""
        return {
            name: [
                at["mix"] for at in (*node.core.sessions().values(), *dict(sorted(node.core.links().items())).values())
            ]
            for name, node in self.nodes.items()
        }

    def number(self, name: str, *place: int) -> int:
        """A number of a record, by its place."""
        return int.from_bytes(first(self.records[name][HEAD:], *place), "little")


@pytest.fixture(params=REALMS, ids=lambda folder: folder.name)
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    with ExitStack() as stack:
        yield Kept(request.param, stack)


def test_they_were_left_in_the_middle_of_a_step(kept: Kept) -> None:
    """What the file says of itself: the near edge sealed under a key that the far one does not know yet."""
    number, side_number = 8, 9
    near_tx = kept.number("near", *AT_FLOW, 2, number)
    assert near_tx > kept.number("near", *AT_FLOW, 2, side_number)
    assert near_tx == kept.number("far", *AT_FLOW, 3, number) + 1
    assert kept.number("near", *AT_LANE, 7, number) == kept.number("relay", *AT_LANE, 8, number) + 1
    for name in ("near", "far"):
        agreed, newest, before = (kept.number(name, WORKER, SESSION, tag) for tag in (16, 14, 15))
        assert (agreed, newest, before) == (2, 2, 1)


def test_what_stands_in_the_records_is_there(kept: Kept) -> None:
    assert kept.mixes() == {"near": [2, 2], "relay": [1, 1], "far": [1, 1]}
    for name, node in kept.nodes.items():
        assert [figures["lanes_up"] for figures in node.core.links().values()] == [1] * (2 if name == "relay" else 1)
        if name != "relay":
            assert [figures["flows_up"] for figures in node.core.sessions().values()] == [1]
            assert node.core.streams() == 1


def test_they_go_on_from_there(kept: Kept) -> None:
    near, relay, far = kept.nodes.values()
    with server(echo) as target:
        kept.start(target)
        # What lay unread, under the keys of the step: some in the far edge's socket, the rest in the relay's.
        application, behind = kept.applications["near"], kept.applications["far"]
        assert receive(behind, TO_FAR + TO_RELAY) == WHOLE[BEFORE:]
        behind.sendall(WHOLE)
        assert receive(application, len(WHOLE)) == WHOLE
        # The owed steps were made; the link behind the relay has its own second renewal still before it.
        until(lambda: kept.mixes()["far"][0] == 2 and 2 in kept.mixes()["relay"], near, relay, far)
        assert transfer(kept.address, WHOLE) == WHOLE
        kept.agree(2)
        kept.renew(3)
        until(lambda: kept.mixes() == {"near": [3, 3], "relay": [3, 3], "far": [3, 3]}, near, relay, far)
        application.sendall(WHOLE)
        assert receive(behind, len(WHOLE)) == WHOLE
    for node in kept.nodes.values():
        node.poll()
        assert not [event for event in node.seen if event[0] in {native.EVENT_SESSION_DOWN, native.EVENT_LANE_DOWN}]
        assert {
            name: count for name, count in node.core.counters().items() if name.startswith("refused_") and count
        } == {}
