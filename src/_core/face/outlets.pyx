"""What the face has of the outlets of imports: their figures, and connections of its own that try one."""
from libc.stdint cimport uint32_t, uint64_t, uint8_t

from pcgrelay._core.base.linux cimport SOCK_SEQPACKET, SOL_SOCKET, SO_TYPE, close, getsockopt
from pcgrelay._core.face.counters cimport counters_meter
from pcgrelay._core.face.registry cimport MeterEntry
from pcgrelay._core.face.datagrams cimport Datagrams
from pcgrelay._core.face.workers cimport workers_order
from pcgrelay._core.link.mailbox cimport ORDER_NUDGE, ORDER_STREAM, Order
from pcgrelay._core.stream.meter cimport meter_new
from pcgrelay._core.stream.service_tables cimport TABLES_OUTLETS

from pcgrelay._core.face.workers import CoreError


cdef enum:
    ROUNDS_MOST = 64            # at once
    ROUND_LAST = 0xffffffff     # then their numbers begin anew


cdef bint keeps_records_apart(int fd):
    cdef int kind = 0
    cdef uint32_t length = sizeof(kind)
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) == 0 and kind == SOCK_SEQPACKET


cdef class Outlets(Datagrams):
    """The workers of a node, with what concerns outlets. See outlets.pyi for the contract of each method."""

    def meter_open(self, uint32_t outlets) -> int:
        cdef MeterEntry entry = MeterEntry()
        self._alive()
        if not 1 <= outlets <= TABLES_OUTLETS:
            raise CoreError(f"an import has 1 to {TABLES_OUTLETS} outlets, not {outlets}")
        entry.meter = meter_new(outlets, self._count)
        if entry.meter == NULL:
            raise MemoryError
        number = max(self._meters, default=0) + 1
        self._meters[number] = entry
        return number

    cdef MeterEntry _meter(self, uint32_t meter):
        cdef MeterEntry entry = self._meters.get(meter)
        if entry is None:
            raise CoreError(f"there is no meter {meter}")
        return entry

    def meter_close(self, uint32_t meter) -> None:
        self._meter(meter)
        del self._meters[meter]

    def meter_read(self, uint32_t meter) -> list:
        return counters_meter(self._meter(meter).meter)

    def import_connect(self, uint32_t number, int fd, uint32_t outlet, uint32_t shadow) -> None:
        cdef Order* order
        try:
            self._alive()
            if outlet >= TABLES_OUTLETS:
                raise CoreError(f"there is no outlet {outlet}")
            if shadow == 0:
                raise CoreError("shadow connections are numbered from 1")
            order = workers_order(ORDER_STREAM)
        except BaseException:
            close(fd)
            raise
        order.fd = fd
        order.args.stream.import_number, order.args.stream.shadow = number, shadow
        order.args.stream.outlet = <uint8_t>outlet
        if keeps_records_apart(fd):
            # One of datagrams cannot be handed on, and the first worker has a flow of each session.
            self._send(0, order)
            return
        self._shadow_turn = (self._shadow_turn + 1) % self._count
        self._send(self._shadow_turn, order)

    def streams_nudge(self, uint32_t number, uint32_t outlet, *, uint64_t idle_us, uint32_t most, bint hard) -> int:
        cdef Order* order
        self._alive()
        if outlet >= TABLES_OUTLETS:
            raise CoreError(f"there is no outlet {outlet}")
        if self._rounds == ROUNDS_MOST:
            raise CoreError(f"{ROUNDS_MOST} rounds are under way")
        order = workers_order(ORDER_NUDGE)
        self._rounds += 1
        self._round = self._round % ROUND_LAST + 1
        order.args.nudge.import_number, order.args.nudge.round = number, self._round
        order.args.nudge.most, order.args.nudge.hard = most, hard
        order.args.nudge.outlet, order.args.nudge.idle_us = <uint8_t>outlet, idle_us
        # It goes on from worker to worker.
        self._send(0, order)
        return self._round

    def import_adopt(self, uint32_t number, int fd) -> None:
        cdef Order* order
        try:
            self._alive()
            order = workers_order(ORDER_STREAM)
        except BaseException:
            close(fd)
            raise
        order.fd = fd
        order.args.stream.import_number, order.args.stream.handed = number, True
        self._shadow_turn = (self._shadow_turn + 1) % self._count
        self._send(self._shadow_turn, order)
