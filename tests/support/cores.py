"""Nodes of the native core in one process, joined by loopback sockets, for tests: no control plane, secrets made up.

`CoreRealm` joins cores by links and sessions; a test then publishes services and talks to real sockets through them.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import time
from collections.abc import Callable
from typing import Any

from pcgrelay._core.face import core as native
from tests.support.waiting import receive

Event = tuple[Any, ...]
WAIT_S = 20.0


class Node:
    """One core, started, with the events it has given so far."""

    def __init__(self, role: int, *, workers: int = 1, memory: int = 64 << 20, **options: int) -> None:
        self.core = native.Core(workers=workers, memory_bytes=memory, role=role, **options)
        self.core.start()
        self.seen: list[Event] = []

    def poll(self, seconds: float = 0.0) -> list[Event]:
        """Wait at most so long for events; answer the new ones."""
        select.select([self.core.fileno()], [], [], seconds)
        fresh = self.core.events()
        self.seen.extend(fresh)
        return fresh

    def wait(self, wanted: Callable[[Event], bool], seconds: float = WAIT_S) -> Event:
        """Wait for an event, among those seen already or to come."""
        until = time.monotonic() + seconds
        looked = 0
        while True:
            for event in self.seen[looked:]:
                if wanted(event):
                    return event
            looked = len(self.seen)
            left = until - time.monotonic()
            assert left > 0, f"no such event; seen: {self.seen}"
            self.poll(left)

    def wait_kind(self, kind: int, seconds: float = WAIT_S) -> Event:
        return self.wait(lambda event: event[0] == kind, seconds)


class CoreRealm:
    """Nodes and what joins them. Numbers of links, labels and sessions are given out from 1."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.sockets: list[socket.socket] = []
        self._number = 0

    def number(self) -> int:
        self._number += 1
        return self._number

    def edge(self, **options: int) -> Node:
        node = Node(native.ROLE_EDGE, **options)
        self.nodes.append(node)
        return node

    def relay(self, **options: int) -> Node:
        node = Node(native.ROLE_RELAY, **options)
        self.nodes.append(node)
        return node

    def close(self) -> None:
        for node in self.nodes:
            node.core.stop()
        for held in self.sockets:
            held.close()

    def secret(self, what: str) -> bytearray:
        return bytearray(hashlib.sha256(what.encode()).digest())

    def link(self, a: Node, b: Node, *, suite: int = 1, lanes: int = 1) -> int:
        """Join two nodes; the number of the link is the same on both."""
        link = self.number()
        link_id = hashlib.sha256(b"%d" % link).digest()[:16]
        for node, dialler in ((a, True), (b, False)):
            node.core.link_add(
                link,
                secret=self.secret(f"link {link}"),
                binding=bytes(32),
                suite=suite,
                dialler=dialler,
                lanes=lanes,
                link_id=link_id,
            )
        for index in range(lanes):
            self.lane(a, b, link, index)
        return link

    def lane(self, a: Node, b: Node, link: int, index: int) -> None:
        number, preamble = a.core.lane_dial(link, index)
        near, far = tcp_pair()
        near.send(preamble)
        assert b.core.lane_check(link, receive(far, 48)) == (index, number)
        for node, end in ((a, near), (b, far)):
            end.setblocking(False)
            node.core.lane_add(link, index, number, end.detach())
        for node in (a, b):
            node.wait(lambda event: event == (native.EVENT_LANE_UP, link, index, number))

    def session(
        self,
        a: Node,
        b: Node,
        way: list[tuple[Node, int]],
        last: int,
        *,
        suite: int = 1,
        flows: int = 1,
        cap: int = 8 << 20,
        priority: int = 0,
        organisation: int = 0,
    ) -> int:
        """A session from a to b. way: the relays, each with the link that leads to it; last: the one to b."""
        session = self.number()
        # All begin when all know it, or a label that is not known yet would be told as a path that is lost.
        nodes = [a, *(relay for relay, _ in way), b]
        for node in nodes:
            node.core.freeze()
        for node, initiator in ((a, True), (b, False)):
            node.core.session_add(
                session,
                secret=self.secret(f"session {session}"),
                binding=bytes(32),
                suite=suite,
                initiator=initiator,
                flows=flows,
                cap=cap,
                marking=1,
                priority=priority,
                organisation=organisation,
            )
        self.path(session, a, b, way, last, cap=cap, priority=priority)
        for node in nodes:
            node.core.freeze()
        for node in nodes:
            node.core.settle()
        for node in nodes:
            node.core.start()
        for node in (a, b):
            node.wait(lambda event: event == (native.EVENT_SESSION_UP, session))
        return session

    def path(
        self,
        session: int,
        a: Node,
        b: Node,
        way: list[tuple[Node, int]],
        last: int,
        *,
        cap: int = 8 << 20,
        priority: int = 0,
    ) -> None:
        links = [link for _, link in way] + [last]
        # On each link: the label that the nearer node gave, and the one that the farther node gave.
        labels = [(self.number(), self.number()) for _ in links]
        # A relay that does not know the path yet would say that it is lost.
        for at, (relay, link) in enumerate(way):
            relay.core.path_add(
                self.number(),
                a_link=link,
                a_in=labels[at][1],
                a_out=labels[at][0],
                b_link=links[at + 1],
                b_in=labels[at + 1][0],
                b_out=labels[at + 1][1],
                cap=cap,
                priority=priority,
            )
        b.core.session_path(session, link=last, in_label=labels[-1][1], out_label=labels[-1][0])
        # So would the far edge, if what the near one says first came before the order.
        carried_out(b)
        a.core.session_path(session, link=links[0], in_label=labels[0][0], out_label=labels[0][1])

    def service(
        self, a: Node, b: Node, session: int, target: tuple[str, int], *, name: bytes = b"echo"
    ) -> tuple[str, int]:
        """b exports target, a imports it over session; answer the address to connect to."""
        b.core.publish(
            exports=[(0, name, 1, 0, native.EXPORT_READY, 2000, [target])], imports=[], grants=[(session, [0])]
        )
        carried_out(b)
        a.core.publish(exports=[], imports=[(0, name, 1, 0, native.IMPORT_LIVE, [(session, 2, 100)])], grants=[])
        return listen(a)


def carried_out(node: Node) -> None:
    """Wait until the workers have done what was ordered: tables that come too late refuse the first stream."""
    node.core.freeze()
    node.core.start()


def listen(node: Node, number: int = 0, counts: int = 0) -> tuple[str, int]:
    """Give an import its listening sockets, one for each worker, and answer their address. counts: their number."""
    listeners: list[socket.socket] = []
    port = 0
    for _ in range(node.core.workers):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", port))
        port = listener.getsockname()[1]
        listener.listen(1024)
        listener.setblocking(False)
        listeners.append(listener)
    node.core.import_listen(number, [listener.detach() for listener in listeners], counts)
    return "127.0.0.1", port


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    return near, far


def frozen_record(node: Node) -> tuple[bytearray, list[int]]:
    """The state of a node that is frozen by this, and copies of its descriptors."""
    node.core.freeze()
    while not node.core.settle():
        pass
    record = bytearray(node.core.handover_size())
    return record, [os.dup(fd) for fd in node.core.handover_write(record)]
