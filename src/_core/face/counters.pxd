# The workers' counters, as Python objects with names.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.link.mailbox cimport Event
from pcgrelay._core.stream.meter cimport Meter
from pcgrelay._core.worker.worker cimport Worker


# The name of a local reason (docs/protocol.md, section 10), and of the cause of a stream's end.
cdef str name_of_reason(int64_t reason)
cdef str name_of_cause(int64_t cause)

# An event as a tuple of core.pyi, if it needs no state of the face.
cdef tuple event_tuple(const Event* event)

# Sums over so many workers; core.pyi has the shapes.
cdef uint64_t counters_streams(Worker* workers, uint32_t count)
cdef dict counters_total(Worker* workers, uint32_t count)
cdef dict counters_memory(Worker* workers, uint32_t count, uint64_t budget)
cdef dict counters_services(Worker* workers, uint32_t count)
# (accepted, active, sent, received) of a listener that is counted apart.
cdef tuple counters_listener(Worker* workers, uint32_t count, uint32_t listener)
cdef list counters_workers(Worker* workers, uint32_t count)
cdef dict counters_link(Gauge* gauge)
cdef dict counters_session(Gauge* gauge)
# Of the UDP lanes of a link; udp_lanes.pyi has the shape.
cdef list counters_udp(Gauge* gauge)
# Whether the next renewal may be made: each lane that is up has stepped with this one both ways; each of so many flows
# as flow_stepped has it.
cdef bint link_has_stepped(Gauge* gauge, uint64_t mix)
cdef bint session_has_stepped(Gauge* gauge, uint64_t mix, uint32_t flows)
cdef list counters_meter(Meter* meter)
