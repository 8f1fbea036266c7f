"""The UDP lanes of the fake core: no packet travels. Two cores of one process find each other by their tokens.

A UDP lane is up on both sides once its dialler has begun, if neither core's packets are blocked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tests.support.fake_outlets import CoreError

NUMBERS_APART = 64
EVENT_UDP_LANE_UP, EVENT_UDP_LANE_DOWN, EVENT_UDP_LANE_SPENT = 19, 20, 21


@dataclass(eq=False)
class FakeUdpLane:
    core: UdpLanes
    link: int
    index: int
    number: int
    socket: int
    token: int
    peer_token: int = 0
    peer: tuple[str, int] = ("", 0)
    state: str = "opening"


class UdpLanes:
    """Sockets and lanes as they were given."""

    tokens: ClassVar[dict[int, FakeUdpLane]] = {}  # of all cores, as one network
    last_token: ClassVar[int] = 0

    def __init__(self) -> None:
        self.udp_blocked = False  # tests set it: then nothing comes through
        self.udp_sockets: dict[int, tuple[int, int]] = {}  # number: worker, descriptor
        self.udp_lane_table: dict[tuple[int, int], FakeUdpLane] = {}  # by link and number
        self._udp_numbers = 0

    if TYPE_CHECKING:

        def emit(self, *event: object) -> None: ...
        def _link(self, link: int) -> Any: ...

    def udp_socket(self, worker: int, fd: int) -> int:
        self._udp_numbers += 1
        self.udp_sockets[self._udp_numbers] = (worker, fd)
        return self._udp_numbers

    def udp_socket_close(self, socket: int) -> None:
        if socket not in self.udp_sockets:
            raise CoreError(f"there is no UDP socket {socket}")
        for lane in [lane for lane in self.udp_lane_table.values() if lane.socket == socket]:
            self._udp_end(lane, "link")
        os.close(self.udp_sockets.pop(socket)[1])

    def udp_lane_dial(self, link: int, index: int, socket: int) -> tuple[int, int]:
        known = self._link(link)
        number, known.next_number = known.next_number, known.next_number + 1
        return number, self._udp_lane(link, index, number, socket).token

    def udp_lane_accept(
        self, link: int, index: int, number: int, *, token: int, host: str, port: int, socket: int
    ) -> int:
        known = self._link(link)
        greatest = max(known.used, default=-1)
        low, high = (greatest - NUMBERS_APART, greatest + NUMBERS_APART) if known.used else (0, NUMBERS_APART - 1)
        if number in known.used or not low <= number <= high:
            raise CoreError("used-number")
        known.used.add(number)
        lane = self._udp_lane(link, index, number, socket)
        lane.peer_token, lane.peer = token, (host, port)
        return lane.token

    def udp_lane_begin(self, link: int, index: int, number: int, *, token: int, host: str, port: int) -> None:
        self._link(link)
        lane = self.udp_lane_table.get((link, number))
        if lane is None:
            return
        lane.peer_token, lane.peer = token, (host, port)
        far = UdpLanes.tokens.get(token)
        for each, other in ((lane, far), (far, lane)):
            if each is None:
                continue
            if other is None or each.core.udp_blocked or other.core.udp_blocked:
                each.core.emit(EVENT_UDP_LANE_DOWN, each.link, each.index, each.number, "silent", False)
            else:
                each.core.udp_up(each)

    def udp_lane_close(self, link: int, index: int, number: int) -> None:
        self._link(link)
        lane = self.udp_lane_table.get((link, number))
        if lane is not None:
            self._udp_end(lane, "link")

    def udp_lanes(self, link: int) -> list[tuple[int, int, str, int, int, int, int, int, int]]:
        self._link(link)
        newest = {lane.index: lane for lane in self.udp_lane_table.values() if lane.link == link}
        return [(i, lane.number, lane.state, 1200, 400, 0, 0, 0, 0) for i, lane in sorted(newest.items())]

    def udp_up(self, lane: FakeUdpLane) -> None:
        """Use a lane from now on; the one before of its index ends."""
        for other in list(self.udp_lane_table.values()):
            if other is not lane and (other.link, other.index, other.state) == (lane.link, lane.index, "up"):
                self._udp_end(other, "replaced")
        lane.state = "up"
        self.emit(EVENT_UDP_LANE_UP, lane.link, lane.index, lane.number)

    def udp_forget(self, link: int) -> None:
        """Close the lanes of a link that ends."""
        for lane in [lane for lane in self.udp_lane_table.values() if lane.link == link]:
            self._udp_end(lane, "link")

    def _udp_lane(self, link: int, index: int, number: int, socket: int) -> FakeUdpLane:
        if socket not in self.udp_sockets:
            raise CoreError(f"there is no UDP socket {socket}")
        UdpLanes.last_token += 1
        lane = FakeUdpLane(self, link, index, number, socket, UdpLanes.last_token)
        self.udp_lane_table[(link, number)] = UdpLanes.tokens[lane.token] = lane
        return lane

    def _udp_end(self, lane: FakeUdpLane, reason: str) -> None:
        del self.udp_lane_table[(lane.link, lane.number)]
        del UdpLanes.tokens[lane.token]
        self.emit(EVENT_UDP_LANE_DOWN, lane.link, lane.index, lane.number, reason, True)
