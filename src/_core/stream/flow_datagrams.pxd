# DATAGRAMS of a flow: sealed once and never retained, lost and overtaken as the network likes, opened at most once
# (docs/protocol.md, 4.3 and 6.2). They have a key and numbers of their own, so they neither hold up nor are held up by
# the other frames of the flow.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf
from pcgrelay._core.base.result cimport Result
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.stream.flow cimport Flow


cdef enum:
    FLOW_FORMER_US = 30000000   # so long after a step, frames of the epoch before it are still taken

# Whether the key bears datagrams now: it has not sealed too much, and no process before may have used it for some.
cdef bint flow_bears_datagrams(const Flow* self, uint64_t now_us) noexcept nogil

# The same, and its key is there: what is sealed next is not refused. False: not now.
cdef bint flow_prepare_datagrams(Flow* self, uint64_t now_us) noexcept nogil

# Number and seal the body of length bytes that lies in clear in buf behind its prefix. RESULT_BUDGET: the key bears no
# datagrams now, or this process has none for them yet; drop them.
cdef Result flow_seal_datagrams(Flow* self, Buf* buf, uint32_t length, uint64_t now_us) noexcept nogil

# Check epoch, number and tag of a DATAGRAMS frame and open it in place. RESULT_OK: its body may be read. RESULT_STALE,
# RESULT_REPLAYED: ignore and count it. RESULT_MIX_OVERDUE: it opens, but too late for an epoch without the newest mix;
# this and anything else ends the session.
cdef Result flow_open_datagrams(Flow* self, const Frame* frame, uint8_t* wire, uint64_t now_us) noexcept nogil
