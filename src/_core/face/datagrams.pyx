"""What the face has of imports of datagrams: their sockets."""
from libc.stdint cimport uint32_t

from pcgrelay._core.base.linux cimport close
from pcgrelay._core.base.stats cimport STATS_LISTENERS
from pcgrelay._core.face.workers cimport Workers, workers_order
from pcgrelay._core.link.mailbox cimport ORDER_LISTEN, Order

from pcgrelay._core.face.workers import CoreError


cdef class Datagrams(Workers):
    """The workers of a node, with what concerns datagrams. See datagrams.pyi for the contract of each method."""

    def listen_datagrams(self, uint32_t worker, uint32_t number, int fd, uint32_t listener=0) -> None:
        cdef Order* order
        try:
            self._alive()
            if worker >= self._count:
                raise CoreError(f"there is no worker {worker}")
            if listener >= STATS_LISTENERS:
                raise CoreError(f"there are no counts of a listener {listener}")
            order = workers_order(ORDER_LISTEN)
        except BaseException:
            close(fd)
            raise
        order.fd = fd
        order.args.listen.import_number, order.args.listen.listener = number, listener
        order.args.listen.datagrams = True
        self._send(worker, order)
