"""What the face has of UDP lanes: their sockets, their numbers, and the tokens by which packets name them."""
from libc.stdint cimport uint16_t, uint32_t, uint8_t
from libc.string cimport memcpy

from pcgrelay._core.base.linux cimport (
    AF_INET, AF_INET6, SOCK_DGRAM, SOL_SOCKET, SO_TYPE, close, getsockname, getsockopt, sockaddr,
)
from pcgrelay._core.base.result cimport RESULT_OK
from pcgrelay._core.base.wire cimport WIRE_PREAMBLE
from pcgrelay._core.crypto.lane_keys cimport lane_keys_accept, lane_keys_dial, lane_keys_use
from pcgrelay._core.face.counters cimport counters_udp
from pcgrelay._core.face.tables_fill cimport fill_target
from pcgrelay._core.face.workers cimport workers_order
from pcgrelay._core.link.gauge cimport gauge_udp_begin
from pcgrelay._core.link.mailbox cimport (
    ORDER_UDP_LANE, ORDER_UDP_LANE_BEGIN, ORDER_UDP_LANE_CLOSE, ORDER_UDP_SOCKET, ORDER_UDP_SOCKET_CLOSE, UdpLaneOrder,
    order_free,
)
from pcgrelay._core.link.shard cimport UdpSocket
from pcgrelay._core.stream.service_tables cimport Target

from os import urandom

from pcgrelay._core.face.workers import CoreError


cdef enum:
    UDP_SOCKETS_MOST = 256      # of one worker


# The family of a bound socket of UDP; 0: it is none.
cdef int family_of(int fd):
    cdef uint8_t name[128]
    cdef uint32_t length = sizeof(name)
    cdef int kind = 0
    cdef uint32_t size = sizeof(kind)
    cdef uint16_t family = 0
    if getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) != 0 or kind != SOCK_DGRAM \
            or getsockname(fd, <sockaddr*>name, &length) != 0:
        return 0
    memcpy(&family, name, 2)
    return family if family == AF_INET or family == AF_INET6 else 0


cdef fill_peer(UdpLaneOrder* args, uint32_t token, str host, uint16_t port, int family):
    cdef Target address
    if token == 0 or port == 0:
        raise CoreError("neither the token nor the port of a peer is 0")
    try:
        fill_target(&address, host, port)
    except ValueError as fault:
        raise CoreError(str(fault)) from None
    memcpy(args.address, address.address, 28)
    if (<uint16_t*>args.address)[0] != family:
        raise CoreError(f"a socket of another family cannot reach {host}")
    args.peer_token, args.address_length = token, address.length


cdef class UdpLanes(Outlets):
    """The workers of a node, with what concerns UDP lanes. See udp_lanes.pyi for the contract of each method."""

    cdef LinkEntry _link(self, uint32_t link):
        self._alive()
        cdef LinkEntry entry = self._links.get(link)
        if entry is None:
            raise CoreError(f"there is no link {link}")
        return entry

    # The sockets by number. Those that another process handed over are found when they are first asked for.
    cdef dict _sockets(self):
        cdef UdpSocket* socket
        cdef uint32_t i
        if self._udp_sockets is None:
            self._udp_sockets = {}
            for i in range(self._ready):
                socket = NULL if self._is_running() else self._workers[i].shard.udp_sockets
                while socket != NULL:
                    self._udp_sockets[socket.number] = (i, family_of(socket.handle.fd))
                    self._udp_serial = max(self._udp_serial, socket.number)
                    socket = socket.next
        return self._udp_sockets

    def start(self) -> None:
        # Before the workers run: then what they own is theirs.
        self._sockets()
        super().start()

    def udp_socket(self, uint32_t worker, int fd) -> int:
        cdef Order* order
        cdef dict sockets
        try:
            self._alive()
            sockets = self._sockets()
            family = family_of(fd)
            if worker >= self._count:
                raise CoreError(f"there is no worker {worker}")
            if family == 0:
                raise CoreError("this is no socket of UDP over IPv4 or IPv6")
            if sum(at == worker for at, _ in sockets.values()) >= UDP_SOCKETS_MOST:
                raise CoreError(f"a worker has at most {UDP_SOCKETS_MOST} sockets of UDP lanes")
            order = workers_order(ORDER_UDP_SOCKET)
        except BaseException:
            close(fd)
            raise
        self._udp_serial += 1
        sockets[self._udp_serial] = (worker, family)
        order.fd, order.args.udp_socket = fd, self._udp_serial
        self._send(worker, order)
        return self._udp_serial

    def udp_socket_close(self, uint32_t socket) -> None:
        cdef Order* order
        self._alive()
        if socket not in self._sockets():
            raise CoreError(f"there is no socket {socket} of UDP lanes")
        order = workers_order(ORDER_UDP_SOCKET_CLOSE)
        order.args.udp_socket = socket
        worker, _ = self._sockets().pop(socket)
        self._send(worker, order)

    # The link, if a UDP lane of that index may be made over that socket.
    cdef LinkEntry _udp_place(self, uint32_t link, uint32_t index, uint32_t socket):
        cdef LinkEntry entry = self._link(link)
        if entry.inherited or index >= entry.keys.lanes:
            raise CoreError(f"link {link} has no UDP lane {index} to open")
        if socket not in self._sockets():
            raise CoreError(f"there is no socket {socket} of UDP lanes")
        if self._sockets()[socket][0] != index % self._count:
            raise CoreError(f"socket {socket} is not of the worker that has index {index}")
        if not gauge_udp_begin(entry.gauge):
            raise MemoryError
        return entry

    # Give the order, in which all but secret and token stands, to the worker of its index; it passes.
    cdef uint32_t _udp_open(self, LinkEntry entry, Order* order) except 0:
        cdef uint32_t token = 0
        while token == 0:
            token = <uint32_t>int.from_bytes(urandom(4), "little")
        if lane_keys_use(&entry.keys, order.args.udp_lane.number, order.secret) != RESULT_OK:
            order_free(order)
            raise CoreError("used-number")
        order.args.udp_lane.token = token
        self._send(order.args.udp_lane.index % self._count, order)
        return token

    def udp_lane_dial(self, uint32_t link, uint32_t index, uint32_t socket) -> tuple:
        cdef LinkEntry entry = self._udp_place(link, index, socket)
        cdef uint8_t preamble[WIRE_PREAMBLE]
        cdef uint32_t number = 0
        cdef Order* order
        if not entry.dialler:
            raise CoreError(f"this side has not dialled link {link}")
        if lane_keys_dial(&entry.keys, <uint16_t>index, &number, preamble) != RESULT_OK:
            raise CoreError("libcrypto could not derive the keys of the UDP lane")
        order = workers_order(ORDER_UDP_LANE)
        order.args.udp_lane.link, order.args.udp_lane.index = link, index
        order.args.udp_lane.number, order.args.udp_lane.socket = number, socket
        return number, self._udp_open(entry, order)

    def udp_lane_accept(self, uint32_t link, uint32_t index, uint32_t number, *, uint32_t token, str host,
                        uint16_t port, uint32_t socket) -> int:
        cdef LinkEntry entry = self._link(link)
        cdef Order* order
        if entry.dialler or entry.inherited or lane_keys_accept(&entry.keys, number) != RESULT_OK:
            raise CoreError("used-number")
        order = workers_order(ORDER_UDP_LANE)
        try:
            self._udp_place(link, index, socket)
            fill_peer(&order.args.udp_lane, token, host, port, self._sockets()[socket][1])
        except BaseException:
            # The number is used up, and its secret is not needed.
            lane_keys_use(&entry.keys, number, order.secret)
            order_free(order)
            raise
        order.args.udp_lane.link, order.args.udp_lane.index = link, index
        order.args.udp_lane.number, order.args.udp_lane.socket = number, socket
        return self._udp_open(entry, order)

    def udp_lane_begin(self, uint32_t link, uint32_t index, uint32_t number, *, uint32_t token, str host,
                       uint16_t port) -> None:
        cdef Order* order
        self._link(link)
        family = AF_INET6 if ":" in host else AF_INET
        order = workers_order(ORDER_UDP_LANE_BEGIN)
        try:
            fill_peer(&order.args.udp_lane, token, host, port, family)
        except BaseException:
            order_free(order)
            raise
        order.args.udp_lane.link, order.args.udp_lane.number = link, number
        self._send(index % self._count, order)

    def udp_lane_close(self, uint32_t link, uint32_t index, uint32_t number) -> None:
        cdef Order* order
        self._link(link)
        order = workers_order(ORDER_UDP_LANE_CLOSE)
        order.args.udp_lane.link, order.args.udp_lane.number = link, number
        self._send(index % self._count, order)

    def udp_lanes(self, uint32_t link) -> list:
        return counters_udp(self._link(link).gauge)
