"""The UDP lanes of a node's links as status shows them, and which way the datagrams of a link go, and why."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from pcgrelay.admin.udp_lanes import UdpLanesStatus, udp_lanes_status
from pcgrelay.config import ListenSettings
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.gateway.node import Node
from pcgrelay.identity.handshake import UDP_LANES
from pcgrelay.link.link import Link
from pcgrelay.link.udp_lane import IndexUdpLanes, Obstacle


def udp_lanes_of(node: Node, link: Link) -> UdpLanesStatus | None:
    """Return the UDP lanes of a link; None if not both ends want them now."""
    lanes = node.link_table.udp_lanes
    if UDP_LANES not in link.features or not lanes.is_on or lanes.is_withdrawn(link):
        return None
    try:
        rows = node.plane.udp_lanes(link.number)
    except DataPlaneRefused:
        rows = []
    known = {index: each for index in range(link.lanes) if (each := lanes.of_index(link, index)) is not None}
    up = {row.index for row in rows if row.state == "up"}
    down = [each for index, each in known.items() if index not in up]
    own = lanes.own_ports(link) if isinstance(link.standing.settings, ListenSettings) else ()
    return structs.replace(
        udp_lanes_status(rows, link.lanes),
        why=down[0].obstacle.value if down else "",
        # After an upgrade the sockets are there, and of lanes nothing is known but what the core knows.
        ports=own or _ports(known.values()),
        closed_ports=_ports(down),
    )


def _ports(lanes: Iterable[IndexUdpLanes]) -> tuple[int, ...]:
    return tuple(sorted({each.port for each in lanes if each.port}))


def datagram_way(node: Node, link: Link) -> str:
    """Return which way datagrams take over a link, to the next node, and why they do not go by UDP lanes."""
    lanes, peer = node.link_table.udp_lanes, link.peer.dotted
    if not lanes.is_on:
        return "by TCP: UDP lanes are off at this node ([node] udp_lanes)"
    if UDP_LANES not in link.features and not link.controlled:
        return "by TCP, until the link is made anew"
    if UDP_LANES not in link.features:
        return f"by TCP: {peer} has no UDP lanes; they are off there, or it is of an earlier version"
    status = udp_lanes_of(node, link)
    if status is None:
        return f"by TCP: {peer} has switched its UDP lanes off"
    up = f"{status.up} of {status.lanes} UDP lanes are up"
    if status.up == status.lanes:
        return f"by UDP: {up}"
    why = obstacle_words(status, peer, link.standing.settings.address.host, dialled=link.dialled)
    return f"by TCP: {why}" if not status.up else f"by UDP, some by TCP: {up}; for the others, {why}"


def obstacle_words(status: UdpLanesStatus, peer: str, host: str, *, dialled: bool) -> str:
    """Return why UDP lanes are not up, as a clause. host: of the listener, as the acceptor or the dialler knows it."""
    at = port_words(status.closed_ports)
    there = f"{at} of {host}" if at else f"the UDP ports of {host}"
    to = there if dialled else at or "this node"
    words = {
        Obstacle.SILENT: f"no packet gets through to {to} and back; something on the way seems to block it",
        Obstacle.LOSS: "more than a tenth of the packets was lost, and they are tried again when less is",
        Obstacle.NO_PORT: "another program has a port of this node",
        Obstacle.FAR_PORT: f"{peer} cannot have its port; another program has it",
        Obstacle.REFUSED: f"this node or {peer} has no room for them",
        Obstacle.UNANSWERED: f"{peer} has not answered",
    }
    # A newer node may have a word that is not known here.
    return words.get(Obstacle(status.why), status.why or f"they are being agreed on with {peer}")


def port_words(ports: tuple[int, ...]) -> str:
    """Return ports, in their order, as a phrase; nothing if none is known."""
    if len(ports) > 2 and ports[-1] - ports[0] == len(ports) - 1:
        return f"UDP ports {ports[0]} to {ports[-1]}"
    return f"UDP port{'s' if len(ports) > 1 else ''} {' and '.join(map(str, ports))}" if ports else ""
