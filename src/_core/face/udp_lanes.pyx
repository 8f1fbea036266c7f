"""What the face has of UDP lanes: their sockets, their numbers, and the tokens by which packets name them."""
from libc.stdint cimport uint16_t, uint32_t

from pcgrelay._core.base.linux cimport close

from pcgrelay._core.face.workers import CoreError


cdef class UdpLanes(Outlets):
    """The workers of a node, with what concerns UDP lanes. See udp_lanes.pyi for the contract of each method."""

    cdef LinkEntry _link(self, uint32_t link):
        self._alive()
        cdef LinkEntry entry = self._links.get(link)
        if entry is None:
            raise CoreError(f"there is no link {link}")
        return entry

    def udp_socket(self, uint32_t worker, int fd) -> int:
        close(fd)
        raise CoreError("this core has no UDP lanes")

    def udp_socket_close(self, uint32_t socket) -> None:
        raise CoreError(f"there is no UDP socket {socket}")

    def udp_lane_dial(self, uint32_t link, uint32_t index, uint32_t socket) -> tuple:
        raise CoreError("this core has no UDP lanes")

    def udp_lane_accept(self, uint32_t link, uint32_t index, uint32_t number, *, uint32_t token, str host,
                        uint16_t port, uint32_t socket) -> int:
        raise CoreError("this core has no UDP lanes")

    def udp_lane_begin(self, uint32_t link, uint32_t index, uint32_t number, *, uint32_t token, str host,
                       uint16_t port) -> None:
        raise CoreError("this core has no UDP lanes")

    def udp_lane_close(self, uint32_t link, uint32_t index, uint32_t number) -> None:
        self._link(link)

    def udp_lanes(self, uint32_t link) -> list:
        self._link(link)
        return []
