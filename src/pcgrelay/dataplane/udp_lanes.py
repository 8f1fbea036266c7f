"""The calls of the core about UDP lanes. What each does stands in the core's stub (`udp_lanes.pyi`)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from pcgrelay.figures import UdpLaneFigures


class UdpLaneCalls:
    """A part of the plane: sockets, offers and figures of UDP lanes. A refused call raises DataPlaneRefused."""

    _core: Any

    @abstractmethod
    def _called(self, call: Callable[..., Any], *args: Any, **named: Any) -> Any: ...

    def udp_socket(self, worker: int, fd: int) -> int:
        return int(self._called(self._core.udp_socket, worker, fd))

    def udp_socket_close(self, socket: int) -> None:
        self._called(self._core.udp_socket_close, socket)

    def udp_lane_dial(self, link: int, index: int, socket: int) -> tuple[int, int]:
        number, token = self._called(self._core.udp_lane_dial, link, index, socket)
        return number, token

    def udp_lane_accept(
        self, link: int, index: int, number: int, *, token: int, host: str, port: int, socket: int
    ) -> int:
        return int(
            self._called(
                self._core.udp_lane_accept, link, index, number, token=token, host=host, port=port, socket=socket
            )
        )

    def udp_lane_begin(self, link: int, index: int, number: int, *, token: int, host: str, port: int) -> None:
        self._called(self._core.udp_lane_begin, link, index, number, token=token, host=host, port=port)

    def udp_lane_close(self, link: int, index: int, number: int) -> None:
        self._called(self._core.udp_lane_close, link, index, number)

    def udp_lanes(self, link: int) -> list[UdpLaneFigures]:
        """Return the newest UDP lane of each index of a link that has or had one."""
        return [UdpLaneFigures(*row) for row in self._called(self._core.udp_lanes, link)]
