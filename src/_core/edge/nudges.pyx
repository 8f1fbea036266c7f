from libc.stdint cimport uint64_t

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.stats cimport CAUSE_NUDGED, COUNT_STREAMS_NUDGED
from pcgrelay._core.base.wire cimport CODE_ABORTED, CODE_DONE
from pcgrelay._core.edge.setups cimport setup_figures
from pcgrelay._core.edge.streams cimport edge_abort, edge_leave
from pcgrelay._core.link.shard cimport Shard, flow_lane
from pcgrelay._core.stream.flow cimport Flow, stream_flow
from pcgrelay._core.stream.meter cimport METER_NUDGED, meter_count
from pcgrelay._core.stream.stream cimport BREAK_NONE, FAR_OPEN, IN_ENDED, LIFE_LIVE, SETUP_UP, Setup, Stream


cdef bint nudge_may(const Setup* setup) noexcept nogil:
    cdef const Stream* stream = setup.stream
    return setup.shadow == 0 and setup.state == SETUP_UP and stream.life == LIFE_LIVE and stream.broken == BREAK_NONE \
        and stream.far == FAR_OPEN


cdef bint nudge_is_idle(Shard* shard, Setup* setup, uint64_t idle_us) noexcept nogil:
    cdef const Stream* stream = setup.stream
    cdef const Flow* flow = stream_flow(stream)
    cdef uint64_t moved = stream.tx.sent + stream.rx.received
    if setup.still_us == 0:
        setup.still_us = setup.up_us
    if moved != setup.still_bytes:
        setup.still_bytes = moved
        setup.still_us = shard.now_us
    if stream.out.count != 0 or (stream.partner != NULL and stream.partner.out.count != 0):
        return False
    if flow != NULL and flow_lane(flow) == NULL:
        # What was sent over a path that is lost waits to be sent again.
        return False
    return shard.now_us - setup.still_us >= idle_us


cdef void nudge(Shard* shard, Stream* stream, bint hard) noexcept nogil:
    meter_count(setup_figures(shard, stream.setup), METER_NUDGED, 1)
    counter_add(&shard.stats.count[COUNT_STREAMS_NUDGED], 1)
    if hard or stream.datagram:
        # Datagrams have no end that could be said in order; their client begins another association.
        edge_abort(shard, stream, CODE_ABORTED if hard else CODE_DONE, CAUSE_NUDGED)
        return
    edge_leave(shard, stream)
    stream.input = IN_ENDED
    stream.readable = False
