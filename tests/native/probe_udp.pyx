"""UDP lanes as Python sees them, with neither thread nor socket nor clock. For tests only."""
cimport cython
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from pcgrelay._core.base.buf cimport Buf, buf_data, pool_start, pool_stop
from pcgrelay._core.base.map cimport map_free
from pcgrelay._core.base.stats cimport (
    COUNT_UDP_BAD_LENGTH, COUNT_UDP_BAD_TAG, COUNT_UDP_BAD_TOKEN, COUNT_UDP_GLITCHES, COUNT_UDP_LATE,
    COUNT_UDP_MALFORMED, COUNT_UDP_NOT_SENT, COUNT_UDP_PACKETS_TAKEN, COUNT_UDP_REPLAYED, COUNT_UDP_TOO_LONG,
)
from pcgrelay._core.base.wire cimport WIRE_PREFIX, WIRE_UDP_HEAD
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport gauge_new, gauge_udp_begin
from pcgrelay._core.link.link cimport link_add, link_remove
from pcgrelay._core.link.mailbox cimport EVENT_UDP_LANE_DOWN, EVENT_UDP_LANE_UP
from pcgrelay._core.link.shard cimport Shard, UdpLane, UdpSocket
from pcgrelay._core.link.udp_lane cimport (
    UDP_LINK, UDP_PLACES, udp_lane_bears, udp_lane_begin, udp_lane_drop_out, udp_lane_end, udp_lane_end_all,
    udp_lane_find, udp_lane_lengths, udp_lane_push, udp_lane_rx, udp_lane_start, udp_lane_ticks,
)
from pcgrelay._core.link.udp_probes cimport (
    probes_begin, probes_follow, probes_forgive, probes_rx, probes_shorten, probes_tick, probes_tx,
)
from tests.native.probe cimport exactly

TURNS = ("as before", "came up", "fell silent", "loses")
STATES = ("closed", "opening", "up", "broken")
REASONS = ("silent", "loss", "spent", "replaced", "link", "refused")
DAY_US = 86_400_000_000
SOMEWHERE = b"\2\0\x10\x92\x7f\0\0\1" + bytes(8)

cdef UdpSocket nowhere


@cython.final
cdef class Probes:
    """What a side knows of the way."""

    def __init__(self, now_us: int) -> None:
        probes_begin(&self.own, now_us)

    def follow(self, other: Probes) -> None:
        probes_follow(&self.own, &other.own)

    def tx(self, token: int, sent: int, now_us: int, probe_us: int) -> None:
        probes_tx(&self.own, token, sent, now_us, probe_us)

    def rx(self, token: int, taken: int, now_us: int) -> tuple[str, bool]:
        cdef bint known = False
        turn = TURNS[<int>probes_rx(&self.own, token, taken, now_us, &known)]
        return turn, known

    def tick(self, now_us: int, probe_us: int) -> str:
        return TURNS[<int>probes_tick(&self.own, now_us, probe_us)]

    def forgive(self, away_us: int, now_us: int) -> None:
        probes_forgive(&self.own, away_us, now_us)

    def shorten(self) -> None:
        probes_shorten(&self.own)

    @property
    def state(self) -> str:
        return STATES[self.own.state]

    @property
    def longest(self) -> int:
        return self.own.longest

    @property
    def loss_ppm(self) -> int:
        return self.own.loss_ppm

    @property
    def mend_us(self) -> int:
        return self.own.mend_us

    @property
    def round_trip_us(self) -> int:
        return self.own.round_trip_us

    @property
    def due_us(self) -> int:
        return self.own.due_us


@cython.final
cdef class UdpEnd:
    """One side of the UDP lanes of one link, of two indices."""

    def __cinit__(self, *, dialler: bool, suite: int = 1, memory: int = 16_777_216, lanes: int = 2) -> None:
        self.shard = <Shard*>calloc(1, sizeof(Shard))
        if self.shard == NULL:
            raise MemoryError
        self.shard.workers = 1
        self.shard.now_us = DAY_US
        self.shard.probe_us = 500_000
        pool_start(&self.shard.pool, memory, 0)
        self.link = link_add(self.shard, 1, suite, dialler, lanes, exactly(bytes(32), 32), gauge_new(1, 1))
        if self.link == NULL or not gauge_udp_begin(self.link.gauge):
            raise MemoryError

    def __dealloc__(self):
        if self.shard == NULL:
            return
        udp_lane_end_all(self.shard, NULL, NULL, UDP_LINK)
        if self.link != NULL:
            link_remove(self.shard, self.link)
        map_free(&self.shard.links)
        map_free(&self.shard.udp_tokens)
        pool_stop(&self.shard.pool)
        free(self.shard)

    cdef UdpLane* _lane(self, int number) except NULL:
        cdef UdpLane* lane = udp_lane_find(self.shard, 1, number)
        if lane == NULL:
            raise KeyError(number)
        return lane

    def start(self, number: int, *, token: int, secret: bytes, index: int = 0) -> bool:
        return udp_lane_start(self.shard, self.link, &nowhere, index, number, token, exactly(secret, 32)) != NULL

    def begin(self, number: int, token: int, address: bytes = SOMEWHERE) -> None:
        udp_lane_begin(self.shard, self._lane(number), token, <const uint8_t*>address, <uint32_t>len(address))

    def close(self, number: int) -> None:
        udp_lane_end(self.shard, self._lane(number), UDP_LINK)

    def bears(self, number: int, length: int) -> bool:
        return udp_lane_bears(self.shard, self._lane(number), length)

    def push(self, number: int, frame: bytes) -> None:
        udp_lane_push(self.shard, self._lane(number), <const uint8_t*>frame, <uint32_t>len(frame) - WIRE_PREFIX)

    def out(self, number: int) -> list[bytes]:
        cdef UdpLane* lane = self._lane(number)
        cdef UdpLane** at = &self.shard.dirty_udp_lanes
        cdef Buf* buf = lane.out_first
        cdef uint8_t* p
        cdef uint32_t i
        found = []
        while buf != NULL:
            p = buf_data(buf) + UDP_PLACES
            for i in range(buf.number):
                found.append(p[:udp_lane_lengths(buf)[i]])
                p += udp_lane_lengths(buf)[i]
            buf = buf.next
        udp_lane_drop_out(self.shard, lane)
        if lane.dirty:
            while at[0] != lane:
                at = &at[0].next_dirty
            at[0] = lane.next_dirty
            lane.dirty = False
        return found

    def rx(self, packet: bytes, address: bytes = SOMEWHERE) -> tuple[int, bytes] | None:
        cdef Frame frame
        cdef UdpLane* lane
        # Of its own length, so that whatever is read behind it is found out.
        cdef uint8_t* p = <uint8_t*>calloc(len(packet) or 1, 1)
        if p == NULL:
            raise MemoryError
        try:
            memcpy(p, <const char*>packet, len(packet))
            lane = udp_lane_rx(self.shard, p, <uint32_t>len(packet), <const uint8_t*>address, <uint32_t>len(address),
                               &frame)
            if lane == NULL:
                return None
            return lane.number, p[WIRE_UDP_HEAD:len(packet)]
        finally:
            free(p)

    def tick(self, away_us: int = 0) -> None:
        udp_lane_ticks(self.shard, away_us)

    def events(self) -> list[tuple[str, int, str, bool]]:
        cdef uint32_t i
        found = []
        for i in range(self.shard.event_count):
            event = &self.shard.events[i]
            if event.kind == EVENT_UDP_LANE_DOWN:
                found.append(("down", event.data.lane.number, REASONS[event.data.lane.reason],
                              bool(event.data.lane.code)))
            else:
                found.append(("up" if event.kind == EVENT_UDP_LANE_UP else "spent", event.data.lane.number, "", False))
        self.shard.event_count = 0
        return found

    def counts(self) -> dict[str, int]:
        names = {
            "length": <int>COUNT_UDP_BAD_LENGTH, "token": <int>COUNT_UDP_BAD_TOKEN, "tag": <int>COUNT_UDP_BAD_TAG,
            "late": <int>COUNT_UDP_LATE, "replayed": <int>COUNT_UDP_REPLAYED, "malformed": <int>COUNT_UDP_MALFORMED,
            "glitches": <int>COUNT_UDP_GLITCHES, "not sent": <int>COUNT_UDP_NOT_SENT,
            "too long": <int>COUNT_UDP_TOO_LONG, "taken": <int>COUNT_UDP_PACKETS_TAKEN}
        counted = {name: self.shard.stats.count[<int>place] for name, place in names.items()}
        return {name: n for name, n in counted.items() if n}

    def used(self, index: int = 0) -> int | None:
        cdef UdpLane* lane = self.link.udp_lanes[index]
        return None if lane == NULL else lane.number

    def numbers(self) -> list[int]:
        cdef UdpLane* lane = self.shard.udp_lanes
        found = []
        while lane != NULL:
            found.append(lane.number)
            lane = lane.next
        return sorted(found)

    def state(self, number: int) -> str:
        return STATES[self._lane(number).probes.state]

    def peer(self, number: int) -> bytes:
        cdef UdpLane* lane = self._lane(number)
        return lane.peer[:lane.peer_length]

    def longest(self, number: int) -> int:
        return self._lane(number).probes.longest

    def skip(self, number: int, tx_number: int) -> None:
        self._lane(number).tx_number = tx_number

    def memory(self) -> int:
        return self.shard.pool.used

    @property
    def now_us(self) -> int:
        return self.shard.now_us

    @now_us.setter
    def now_us(self, now_us: int) -> None:
        self.shard.now_us = now_us

    @property
    def probe_us(self) -> int:
        return self.shard.probe_us

    @probe_us.setter
    def probe_us(self, probe_us: int) -> None:
        self.shard.probe_us = probe_us
