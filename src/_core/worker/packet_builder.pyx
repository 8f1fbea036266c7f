from libc.stdint cimport uint32_t

from pcgrelay._core.base.buf cimport Buf, buf_alloc, buf_data, buf_drop
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_OK, Result
from pcgrelay._core.base.wire cimport WIRE_PREFIX
from pcgrelay._core.edge.associations cimport associations_pack
from pcgrelay._core.edge.sessions cimport edge_session_fail
from pcgrelay._core.link.shard cimport Shard, UdpLane
from pcgrelay._core.session.datagrams cimport session_packet, session_packet_begin
from pcgrelay._core.session.session cimport flow_session
from pcgrelay._core.stream.flow cimport Flow


cdef bint packet_builder_serve(Worker* self, Flow* flow, UdpLane* lane, bint* sent) noexcept nogil:
    cdef Shard* shard = &self.shard
    cdef Result answer
    cdef Buf* buf
    cdef uint32_t used
    while flow.datagrams.head != NULL:
        answer = session_packet_begin(shard, flow)
        if answer == RESULT_BUDGET:
            return True
        buf = NULL
        if answer == RESULT_OK:
            buf = buf_alloc(&shard.pool, WIRE_PREFIX + lane.probes.longest, False)
            if buf == NULL:
                # They go by the lane, or wait for memory there.
                return True
            used = associations_pack(shard, flow, buf_data(buf) + WIRE_PREFIX, lane.probes.longest)
            if used == 0:
                buf_drop(&shard.pool, buf)
                return True
            answer = session_packet(shard, flow, lane, buf, used)
        if answer != RESULT_OK:
            edge_session_fail(shard, flow_session(flow), answer)
            return False
        sent[0] = True
    return True
