"""The sockets of UDP that UDP lanes use: made when a link first needs one, closed when no link does any more.

A worker has its own: at an acceptor all lanes of a worker arrive at one port. So a port is open only as long as a
neighbour may use it.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pcgrelay.dataplane.api import DataPlaneRefused, UdpLanePlane
from pcgrelay.handover.records import UdpSocketHandover
from pcgrelay.net.sockets import DATAGRAM_BUFFER_BYTES, family_of

EPHEMERAL = 0


@dataclass(slots=True)
class UdpSocket:
    """One socket, which the core has. asked: the port that was asked for, EPHEMERAL: any."""

    number: int
    worker: int
    host: str
    asked: int
    port: int  # the one that it has
    links: set[int] = field(default_factory=set)


class UdpSockets:
    """All sockets for UDP lanes of a node."""

    def __init__(self, plane: UdpLanePlane) -> None:
        self._plane = plane
        self._sockets: list[UdpSocket] = []

    def __iter__(self) -> Iterator[UdpSocket]:
        return iter(self._sockets)

    def take(self, link: int, worker: int, host: str, port: int) -> UdpSocket:
        """Return the socket of a link at that worker and address; make it if there is none.

        host: numeric. port: EPHEMERAL for one of the link's own. Raises OSError if the port cannot be had,
        DataPlaneRefused if the core takes no further socket.
        """
        for known in self._sockets:
            if (known.worker, known.host, known.asked) == (worker, host, port) and (port or link in known.links):
                known.links.add(link)
                return known
        made = self._made(worker, host, port)
        made.links.add(link)
        self._sockets.append(made)
        return made

    def leave(self, link: int) -> None:
        """Close what a link was the last one to use."""
        self.keep({user for known in self._sockets for user in known.links} - {link})

    def keep(self, links: Collection[int]) -> None:
        """Close what none of these links uses."""
        for known in list(self._sockets):
            known.links.intersection_update(links)
            if not known.links:
                self._sockets.remove(known)
                with suppress(DataPlaneRefused):
                    self._plane.udp_socket_close(known.number)

    def _made(self, worker: int, host: str, port: int) -> UdpSocket:
        with socket.socket(family_of(host), socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                sock.setsockopt(socket.SOL_SOCKET, option, DATAGRAM_BUFFER_BYTES)
            sock.bind((host, port))
            bound = int(sock.getsockname()[1])
            # The core owns the descriptor from here on, whatever happens.
            return UdpSocket(self._plane.udp_socket(worker, sock.detach()), worker, host, port, bound)

    def to_handover(self) -> tuple[UdpSocketHandover, ...]:
        """Return the records of all sockets, which the core hands over."""
        return tuple(
            UdpSocketHandover(
                number=each.number,
                worker=each.worker,
                host=each.host,
                asked=each.asked,
                port=each.port,
                links=tuple(sorted(each.links)),
            )
            for each in self._sockets
        )

    def restore(self, handovers: Sequence[UdpSocketHandover]) -> None:
        """Go on with the sockets of the process before."""
        self._sockets = [
            UdpSocket(each.number, each.worker, each.host, each.asked, each.port, set(each.links)) for each in handovers
        ]
