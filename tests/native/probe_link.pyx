"""Lanes as Python sees them, with neither thread nor socket nor clock, and a relay. For tests and benches only.

It does in few lines what the worker does around its system calls: a lane is fed bytes and gives bytes; time is what
`now_us` says. What a frame of a flow means is left to the role.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pcgrelay._core.base.buf cimport Buf, buf_drop, pool_free, pool_start, pool_stop
from pcgrelay._core.crypto.epoch cimport EPOCH_SOFT_BYTES, EPOCH_SOFT_FRAMES, EPOCH_SOFT_US
from pcgrelay._core.face.counters cimport counters_link
from pcgrelay._core.frame.frame cimport Frame, frame_is_lane
from pcgrelay._core.link.gauge cimport LINK_GAUGE_PINGS, LINK_GAUGE_PINGS_LATE, gauge_at, gauge_new
from pcgrelay._core.link.lane cimport LaneInput, lane_frame, lane_start, lane_stop, lane_rx, lane_tick
from pcgrelay._core.link.link cimport link_add, link_find, link_mix, link_remove
from pcgrelay._core.link.shard cimport LANE_CLASSES, LANE_CLOSED, Lane as CoreLane, Link, Shard, lane_is_up, shard_renew
from pcgrelay._core.link.mailbox cimport (
    EVENT_FLOW_UP, EVENT_IMPORT_WANTED, EVENT_LANE_DOWN, EVENT_LANE_UP, EVENT_LINK_RENEWED, EVENT_PEER_DRAINS,
    EVENT_SESSION_AGREED, EVENT_SESSION_DOWN, EVENT_SESSION_MOVED, EVENT_SESSION_RENEWED, EVENT_SESSION_RESUMED,
    EVENT_SESSION_STALLED, Event, LaneEvent, SessionEvent, StreamEndEvent,
)
from pcgrelay._core.base.map cimport map_any, map_free
from tests.native.probe cimport check, exactly
from pcgrelay._core.base.queue cimport iovec, queue_sent, queue_own, queue_vectors
from pcgrelay._core.link.relay cimport (
    Path, relay_frame, relay_lane_down, relay_lost, relay_path_add, relay_path_remove, relay_own, relay_sweep,
    relay_tell_owed,
)
from pcgrelay._core.base.result cimport (
    RESULT_LOCAL_CLOSE, RESULT_MORE, RESULT_NO_MEMORY, RESULT_OK, RESULT_PEER_CLOSED, RESULT_REASONS, RESULT_REPLACED,
    RESULT_SOCKET,
    Result,
)
from pcgrelay._core.link.lane_send cimport lane_fill, lane_pace, lane_tx, lane_sent
from pcgrelay._core.base.timer cimport wheel_start
from pcgrelay._core.base.wire cimport (
    CODE_BUSY, CODE_DONE, CODE_VIOLATION, FRAME_CLOSE, FRAME_CONFIRM, FRAME_LOST, WIRE_PREFIX, wire_get16, wire_get32,
    wire_put16,
)

from tests.native.probe import REASONS as _REASONS

LANE_STATES = ("CONFIRMING", "UP", "DRAINING", "CLOSED")
DAY_US = 86_400_000_000


class Closed(Exception):
    """The lane is closed; nothing can be fed to it."""


cdef class Lane:
    """One lane of a node. `reason` is why it closed."""

    @property
    def state(self) -> str:
        return LANE_STATES[LANE_CLOSED if self.lane == NULL else self.lane.state]

    @property
    def said(self) -> bytes:
        """What it sent when it was closed."""
        return self.last

    @property
    def epochs(self) -> tuple[int, int]:
        """Of what it sends and of what it receives."""
        if self.lane == NULL:
            raise Closed
        return self.lane.tx.number, self.lane.rx.number

    @property
    def backlog(self) -> int:
        return 0 if self.lane == NULL else self.lane.wire.bytes + sum(
            [self.lane.pending[i].bytes for i in range(LANE_CLASSES)])

    def feed(self, data: bytes) -> None:
        """Bytes came. A refusal closes the lane; `reason` then says why."""
        cdef bytearray space = bytearray(data)
        cdef Result answer
        if self.lane == NULL:
            raise Closed
        self.lane.heard_us = self.node.shard.now_us
        answer = self.node.lane_feed(self.lane, <uint8_t*><char*>space, len(space))
        self.node.settle()
        if answer != RESULT_OK:
            self.node.lane_end(self.lane, answer, CODE_VIOLATION)
        self.node.bury()

    def take(self, limit: int = 1 << 40) -> bytes:
        """Bytes that the lane would send now, at most limit of them; they are gone from it."""
        cdef iovec parts[64]
        cdef uint64_t left = limit
        cdef uint64_t part
        cdef uint32_t i, n
        found = []
        while self.lane != NULL and left != 0:
            answer = lane_fill(self.node.shard, self.lane)
            if answer != RESULT_OK:
                self.node.lane_end(self.lane, answer, CODE_VIOLATION)
                break
            n = queue_vectors(&self.lane.wire, parts, 64)
            if n == 0:
                break
            for i in range(n):
                part = min(left, parts[i].iov_len)
                found.append((<char*>parts[i].iov_base)[:part])
                left -= part
            queue_sent(&self.lane.wire, &self.node.shard.pool, sum([len(data) for data in found[-<int>n:]]))
        self.node.bury()
        return b"".join(found)

    def fill(self) -> str:
        """Seal what waits, and let nothing come of it if that fails; answer how it went."""
        if self.lane == NULL:
            raise Closed
        answer = lane_fill(self.node.shard, self.lane)
        return "OK" if answer == RESULT_OK else _REASONS[<int>answer]

    @property
    def wire_bytes(self) -> int:
        """Sealed and unsent."""
        return 0 if self.lane == NULL else self.lane.wire.bytes

    def cut(self) -> None:
        """TCP failed."""
        if self.lane != NULL:
            self.node.lane_end(self.lane, RESULT_SOCKET, CODE_DONE)
        self.node.bury()

    def close(self, code: int = 0) -> bytes:
        """Close it in order; answer the last bytes."""
        if self.lane == NULL:
            raise Closed
        self.node.lane_end(self.lane, RESULT_LOCAL_CLOSE, code)
        self.node.bury()
        return self.last

    def pace(self, sent: int, full: bool) -> int:
        """So many bytes went out, and the socket is full; answer how far ahead the lane is sealed from then on."""
        if self.lane == NULL:
            raise Closed
        self.lane.writable = True
        lane_sent(self.node.shard, self.lane, sent, full)
        lane_pace(self.node.shard, self.lane)
        return self.lane.ahead

    @property
    def pings(self) -> tuple[int, int]:
        """Those that were sent on its link, and those whose answer came late or not at all."""
        if self.lane == NULL:
            raise Closed
        gauge = gauge_at(self.lane.link.gauge, self.node.shard.index)
        return gauge[<int>LINK_GAUGE_PINGS], gauge[<int>LINK_GAUGE_PINGS_LATE]

    def say(self, kind: int, body: bytes) -> None:
        """Send any lane frame, well formed or not."""
        if self.lane == NULL:
            raise Closed
        check(lane_tx(self.node.shard, self.lane, kind, <const uint8_t*>body, <uint32_t>len(body)))


cdef class Node:
    """One worker's share of a node, whatever its role."""

    def __cinit__(self, *, memory: int = 64 << 20, reserve: int = 4 << 20, workers: int = 1, index: int = 0) -> None:
        self.shard = <Shard*>calloc(1, sizeof(Shard))
        if self.shard == NULL:
            raise MemoryError
        self.lanes = {}
        self.shard.workers = workers
        self.shard.index = index
        # A clock that begins at 0 would hide what takes 0 for "never".
        self.shard.now_us = DAY_US
        self.shard.probe_us = 500_000
        self.shard.handshake_us = 10_000_000
        self.shard.wait_us = 5_000_000
        self.shard.linger_us = 60_000_000
        self.shard.limits.frames = EPOCH_SOFT_FRAMES
        self.shard.limits.bytes = EPOCH_SOFT_BYTES
        self.shard.limits.us = EPOCH_SOFT_US
        pool_start(&self.shard.pool, memory, reserve)
        wheel_start(&self.shard.wheel, self.shard.now_us)

    def __dealloc__(self):
        cdef Shard* shard = self.shard
        cdef Link* link
        cdef Path* path
        if shard == NULL:
            return
        while shard.lanes != NULL:
            lane_unlink(shard, shard.lanes)
        free_lanes(shard)
        while True:
            link = <Link*>map_any(&shard.links)
            if link == NULL:
                break
            link_remove(shard, link)
        while True:
            path = <Path*>map_any(&shard.paths)
            if path == NULL:
                break
            relay_path_remove(shard, path.number)
        relay_sweep(shard, True)
        map_free(&shard.links)
        map_free(&shard.labels)
        map_free(&shard.candidates)
        map_free(&shard.outs)
        map_free(&shard.paths)
        map_free(&shard.sessions)
        pool_stop(&shard.pool)
        free(shard)

    @property
    def now_us(self) -> int:
        return self.shard.now_us

    @now_us.setter
    def now_us(self, now_us: int) -> None:
        self.shard.now_us = now_us

    def limits(self, frames: int, octets: int, age_us: int) -> None:
        """When keys are stepped."""
        self.shard.limits.frames = frames
        self.shard.limits.bytes = octets
        self.shard.limits.us = age_us

    @property
    def memory(self) -> tuple[int, int]:
        """Used now, and at most so far."""
        return self.shard.pool.used, self.shard.pool.high_water

    def counted(self, which: int) -> int:
        """A counter, by its place in stats.pxd."""
        return self.shard.stats.count[which]

    def refused(self) -> dict[str, int]:
        counts = [self.shard.stats.refused[i] for i in range(<int>RESULT_REASONS)]
        return {_REASONS[i]: n for i, n in enumerate(counts) if n}

    def events(self) -> list[tuple[object, ...]]:
        """What the control plane would be told: the kind, and what mailbox.pxd has for it."""
        found = [event_fields(&self.shard.events[i]) for i in range(self.shard.event_count)]
        self.shard.event_count = 0
        return found

    def link_add(self, link: int, *, suite: int, dialler: bool, lanes: int, binding: bytes) -> None:
        if link_add(self.shard, link, suite, dialler, lanes, exactly(binding, 32),
                    gauge_new(self.shard.workers, 1)) == NULL:
            raise MemoryError

    def link_stats(self, link: int) -> dict[str, int]:
        """What `Core.links` says of it."""
        return counters_link(link_find(self.shard, link).gauge)

    def link_renew(self, link: int, mix: int, secret: bytes) -> None:
        shard_renew(self.shard, &link_find(self.shard, link).renewals, EVENT_LINK_RENEWED, link, mix,
                    exactly(secret, 32), 0)

    def link_mix(self, link: int, mix: int) -> None:
        link_mix(self.shard, link_find(self.shard, link), mix)

    def lane_start(self, link: int, *, index: int, number: int, secret: bytes) -> Lane:
        cdef Lane lane = Lane()
        cdef Link* found = link_find(self.shard, link)
        if found == NULL:
            raise KeyError(link)
        lane.lane = lane_start(self.shard, found, -1, index, number, exactly(secret, 32))
        if lane.lane == NULL:
            raise MemoryError
        lane.node = self
        lane.lane.next = self.shard.lanes
        if self.shard.lanes != NULL:
            self.shard.lanes.prev = lane.lane
        self.shard.lanes = lane.lane
        self.lanes[<size_t>lane.lane] = lane
        return lane

    def turn(self) -> None:
        """Look at what is due."""
        self.tick_lanes()
        relay_sweep(self.shard, False)
        if self.shard.losts_owed:
            relay_tell_owed(self.shard)
        self.settle()
        self.bury()

    cdef int tick_lanes(self) except -1:
        cdef CoreLane* lane = self.shard.lanes
        cdef CoreLane* following
        cdef Result answer
        while lane != NULL:
            following = lane.next
            answer = lane_tick(self.shard, lane)
            if answer != RESULT_OK:
                self.lane_end(lane, answer, CODE_DONE)
            lane = following
        return 0

    # -- what the role says of it; here: nothing ----------------------------------------------------------------------

    cdef Result flow_frame(self, CoreLane* lane, Frame* frame, uint8_t* wire, Buf* owner):
        return RESULT_OK

    cdef Result path_lost(self, CoreLane* lane, uint32_t label, uint32_t code):
        return RESULT_OK

    cdef int lane_came(self, CoreLane* lane) except -1:
        return 0

    cdef int lane_went(self, CoreLane* lane, uint32_t code) except -1:
        return 0

    cdef int deliver(self) except -1:
        return 0

    # -- as the worker does it around its system calls ----------------------------------------------------------------

    cdef Result lane_feed(self, CoreLane* lane, uint8_t* p, uint64_t n):
        cdef LaneInput input
        cdef Result answer
        input.part = 0
        input.p = p
        input.n = n
        while True:
            answer = lane_frame(self.shard, lane, &input, self.is_edge)
            if answer != RESULT_OK:
                return RESULT_OK if answer == RESULT_MORE else answer
            answer = self.rx_frame(lane, &input.frame, input.wire, input.owner)
            if input.buf != NULL:
                if input.scarce or self.shard.lent:
                    self.deliver()
                    self.shard.lent = False
                buf_drop(&self.shard.pool, input.buf)
            if answer != RESULT_OK:
                return answer

    cdef Result rx_frame(self, CoreLane* lane, Frame* frame, uint8_t* wire, Buf* owner):
        cdef uint8_t* body = wire + WIRE_PREFIX
        cdef Result answer
        if not frame_is_lane(frame.type):
            return self.flow_frame(lane, frame, wire, owner)
        answer = lane_rx(self.shard, lane, frame, wire)
        if answer == RESULT_OK and frame.type == FRAME_CONFIRM:
            if lane.link.lanes[lane.index] != NULL:
                self.lane_end(lane.link.lanes[lane.index], RESULT_REPLACED, CODE_DONE)
            lane.link.lanes[lane.index] = lane
            self.lane_came(lane)
        elif answer == RESULT_OK and frame.type == FRAME_LOST:
            return self.path_lost(lane, wire_get32(body), wire_get16(body + 4))
        return answer

    cdef int lane_end(self, CoreLane* lane, Result reason, uint32_t code) except -1:
        cdef uint8_t body[4]
        cdef iovec parts[64]
        cdef uint32_t i, n
        cdef Lane closed = self.lanes[<size_t>lane]
        if lane.state == LANE_CLOSED:
            return 0
        closed.last = b""
        if lane_is_up(lane) and reason != RESULT_SOCKET and reason != RESULT_PEER_CLOSED:
            wire_put16(body, code)
            wire_put16(body + 2, 0)
            if lane_tx(self.shard, lane, FRAME_CLOSE, body, 4) == RESULT_OK \
                    and lane_fill(self.shard, lane) == RESULT_OK:
                n = queue_vectors(&lane.wire, parts, 64)
                for i in range(n):
                    closed.last += (<char*>parts[i].iov_base)[:parts[i].iov_len]
        closed.reason = _REASONS[<int>reason]
        if lane.link.lanes[lane.index] == lane:
            lane.link.lanes[lane.index] = NULL
            self.lane_went(lane, code)
        lane_unlink(self.shard, lane)
        return 0

    # Nothing may point into the bytes that were fed once they are gone.
    cdef int settle(self) except -1:
        cdef CoreLane* lane
        cdef uint32_t first = 0
        self.deliver()
        while self.shard.dirty_lanes != NULL:
            lane = self.shard.dirty_lanes
            self.shard.dirty_lanes = lane.next_dirty
            lane.dirty = False
            if lane.state == LANE_CLOSED:
                continue
            relay_own(self.shard, lane)
            if queue_own(&lane.wire, &self.shard.pool, True, &first) != RESULT_OK:
                self.lane_end(lane, RESULT_NO_MEMORY, CODE_BUSY)
        return 0

    cdef int bury(self) except -1:
        cdef CoreLane* lane
        self.settle()
        lane = self.shard.deferred_lanes
        while lane != NULL:
            (<Lane>self.lanes.pop(<size_t>lane)).lane = NULL
            lane = lane.next
        free_lanes(self.shard)
        return 0


cdef void lane_unlink(Shard* shard, CoreLane* lane) noexcept nogil:
    lane_stop(shard, lane)
    if lane.prev != NULL:
        lane.prev.next = lane.next
    else:
        shard.lanes = lane.next
    if lane.next != NULL:
        lane.next.prev = lane.prev
    lane.next = shard.deferred_lanes
    shard.deferred_lanes = lane


cdef void free_lanes(Shard* shard) noexcept nogil:
    cdef CoreLane* lane
    while shard.deferred_lanes != NULL:
        lane = shard.deferred_lanes
        shard.deferred_lanes = lane.next
        pool_free(&shard.pool, lane, sizeof(CoreLane))


cdef class Relay(Node):
    """A relay: what comes on one link goes out on another, or is lost."""

    def path_add(self, path: int, *, a_link: int, a_in: int, a_out: int, b_link: int, b_in: int, b_out: int, cap: int,
                 priority: int = 0, lanes: int = 1) -> None:
        check(relay_path_add(self.shard, path, a_link, a_in, a_out, b_link, b_in, b_out, cap, priority, lanes))

    def path_remove(self, path: int) -> None:
        relay_path_remove(self.shard, path)

    cdef Result flow_frame(self, CoreLane* lane, Frame* frame, uint8_t* wire, Buf* owner):
        return relay_frame(self.shard, lane, frame, wire, owner)

    cdef Result path_lost(self, CoreLane* lane, uint32_t label, uint32_t code):
        return relay_lost(self.shard, lane, label, code)

    cdef int lane_went(self, CoreLane* lane, uint32_t code) except -1:
        relay_lane_down(self.shard, lane.link.number, lane.index)
        return 0


cdef tuple event_fields(const Event* event):
    cdef int kind = event.kind
    cdef const LaneEvent* lane = &event.data.lane
    cdef const SessionEvent* session = &event.data.session
    cdef const StreamEndEvent* end = &event.data.stream
    if kind == EVENT_LANE_UP or kind == EVENT_LANE_DOWN:
        return kind, lane.link, lane.index, lane.number, lane.code, lane.reason
    if kind == EVENT_PEER_DRAINS:
        return kind, event.data.drain.link, event.data.drain.milliseconds
    if kind == EVENT_LINK_RENEWED or kind == EVENT_SESSION_RENEWED:
        return kind, event.data.renewal.number, event.data.renewal.mix, event.data.renewal.serial
    if kind == EVENT_SESSION_AGREED:
        return kind, event.data.renewal.number, event.data.renewal.mix
    if kind == EVENT_SESSION_DOWN:
        return kind, session.number, session.code, session.reason, session.remote
    if kind == EVENT_SESSION_MOVED:
        return kind, session.number, session.label
    if kind == EVENT_FLOW_UP or kind == EVENT_SESSION_STALLED or kind == EVENT_SESSION_RESUMED:
        return kind, session.number, session.flow, session.code, session.label
    if kind == EVENT_IMPORT_WANTED:
        return kind, event.data.import_number
    return (kind, end.opener, end.number, end.session, end.sent_bytes, end.received_bytes, end.open_us, end.code,
            end.cause, end.remote, end.rule, (<const char*>end.service)[:end.service_length])
