# The workers of a node: the lower half of the face. `core` adds their commands.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.tlv cimport Tlv
from pcgrelay._core.link.mailbox cimport Order, OrderKind, Outbox, Settings
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.base.organisation cimport Organisation
from pcgrelay._core.base.stats cimport Bounds
from pcgrelay._core.worker.worker cimport Worker


cdef Order* workers_order(OrderKind kind) except NULL


cdef class Workers:
    cdef Worker* _workers
    cdef Bounds _bounds
    cdef Outbox _outbox
    cdef uint32_t _count
    cdef uint32_t _ready
    cdef int _event_fd
    cdef int _role
    cdef uint64_t _memory
    cdef Settings _settings     # as all workers have them, or will have once they have read their mailbox
    cdef bint _stopped
    cdef uint32_t _shadow_turn  # the worker that the control plane's last connection went to
    cdef uint32_t _round        # the number of the last round over streams
    cdef uint32_t _rounds       # how many are under way
    cdef dict _links
    cdef dict _sessions
    cdef dict _organisations
    cdef dict _meters           # number -> MeterEntry

    cdef void _end(self)
    cdef void _join(self)
    cdef void _write(self, Tlv* cursor)
    cdef _read(self, Tlv* cursor, Map* links, Map* sessions)
    cdef _entries(self, Tlv* cursor, Map* links, Map* sessions)
    cdef Organisation* _organisation(self, uint64_t number) except? NULL
    cdef _forget_organisations(self)
    cdef _change(self, dict changes)
    cdef _alive(self)
    cdef _frozen(self)
    cdef bint _is_running(self)
    cdef void _send(self, uint32_t worker, Order* order)
    cdef _send_all(self, Order* order)
