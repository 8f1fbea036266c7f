"""UDP lanes between real cores, as the control planes of two nodes would agree on them."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import Node

SO_NO_CHECK = 11  # socket(7): with it the system cuts no message into packets


def udp_socket(node: Node, worker: int = 0, host: str = "127.0.0.1", *, plain: bool = False) -> tuple[int, int]:
    """Give a worker a socket; its number, and its port. plain: one of which each packet leaves by itself."""
    each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    if plain:
        each.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    each.bind((host, 0))
    each.setblocking(False)
    port = each.getsockname()[1]
    return node.core.udp_socket(worker, each.detach()), port


Made = Callable[[bytes], list[bytes]]


class Wire:
    """A network between two ports, in a thread: `makes` says what comes out for each packet that goes in."""

    def __init__(self, makes: Made = lambda packet: [packet]) -> None:
        self.makes = makes
        self.blocked = False
        self._ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for end in self._ends:
            end.bind(("127.0.0.1", 0))
        self._leads: dict[socket.socket, tuple[socket.socket, tuple[str, int]]] = {}
        self._stop = os.eventfd(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def join(self, near_port: int, far_port: int) -> tuple[int, int]:
        """Lead packets from one to the other; answer what far and near are to take for each other's port."""
        near, far = self._ends
        self._leads = {near: (far, ("127.0.0.1", far_port)), far: (near, ("127.0.0.1", near_port))}
        self._thread.start()
        return far.getsockname()[1], near.getsockname()[1]

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._stop, *self._ends], [], [])
            if self._stop in ready:
                return
            for end in ready:
                packet = end.recv(70_000)
                out, to = self._leads[end]
                for made in [] if self.blocked else self.makes(packet):
                    out.sendto(made, to)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        os.eventfd_write(self._stop, 1)
        if self._thread.ident is not None:
            self._thread.join()
        for end in self._ends:
            end.close()
        os.close(self._stop)


@dataclass
class Joined:
    """A UDP lane of two nodes."""

    link: int
    index: int
    number: int
    near_port: int
    far_port: int
    near_token: int
    far_token: int


def offer(
    near: Node,
    far: Node,
    link: int,
    index: int = 0,
    *,
    near_port: int = 0,
    far_port: int = 0,
    host: str = "127.0.0.1",
    plain: bool = False,
    wire: Wire | None = None,
) -> Joined:
    """Open a UDP lane from near, which dialled the link, to far. Ports: where each sends, if not to the other."""
    worker = index % near.core.workers
    near_socket, near_at = udp_socket(near, worker, host, plain=plain)
    far_socket, far_at = udp_socket(far, index % far.core.workers, host, plain=plain)
    if wire is not None:
        near_port, far_port = wire.join(near_at, far_at)
    number, token = near.core.udp_lane_dial(link, index, near_socket)
    answer = far.core.udp_lane_accept(
        link, index, number, token=token, host=host, port=near_port or near_at, socket=far_socket
    )
    near.core.udp_lane_begin(link, index, number, token=answer, host=host, port=far_port or far_at)
    return Joined(link, index, number, near_at, far_at, token, answer)


def is_up(node: Node, joined: Joined) -> None:
    """Wait until a node sends by it."""
    wanted = (native.EVENT_UDP_LANE_UP, joined.link, joined.index, joined.number)
    node.wait(lambda event: event == wanted)


def join(
    near: Node,
    far: Node,
    link: int,
    index: int = 0,
    host: str = "127.0.0.1",
    *,
    plain: bool = False,
    wire: Wire | None = None,
) -> Joined:
    """As `offer`, and wait until both send by it."""
    joined = offer(near, far, link, index, host=host, plain=plain, wire=wire)
    for node in (near, far):
        is_up(node, joined)
    return joined


def join_all(across: Across, only: list[int] | None = None) -> list[Joined]:
    """A UDP lane of index 0 on each link of a way, or on those in these places."""
    places = range(len(across.links)) if only is None else only
    nodes = [across.near, *across.relays, across.far]
    return [join(nodes[place], nodes[place + 1], across.links[place]) for place in places]


def count(node: Node, name: str) -> int:
    return int(node.core.counters()[f"udp_{name}_total"])
