"""UDP lanes between real cores, as the control planes of two nodes would agree on them."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from pcgrelay._core.face import core as native
from tests.support.applications import Across
from tests.support.cores import Node


def udp_socket(node: Node, worker: int = 0, host: str = "127.0.0.1") -> tuple[int, int]:
    """Give a worker a socket; its number, and its port."""
    each = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    each.bind((host, 0))
    each.setblocking(False)
    port = each.getsockname()[1]
    return node.core.udp_socket(worker, each.detach()), port


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
) -> Joined:
    """Open a UDP lane from near, which dialled the link, to far. Ports: where each sends, if not to the other."""
    worker = index % near.core.workers
    near_socket, near_at = udp_socket(near, worker, host)
    far_socket, far_at = udp_socket(far, index % far.core.workers, host)
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


def join(near: Node, far: Node, link: int, index: int = 0, host: str = "127.0.0.1") -> Joined:
    """As `offer`, and wait until both send by it."""
    joined = offer(near, far, link, index, host=host)
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
