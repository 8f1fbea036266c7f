# Datagrams from worker to worker. The control plane gives an import sockets on those workers alone that have a flow of
# each of its routes. A route may have fewer flows a moment later: then what comes by the socket of another worker is
# handed to one that has flows of all, always the same for one client. It answers by a copy of the socket.
from libc.stdint cimport int8_t, uint32_t, uint8_t

from pcgrelay._core.link.mailbox cimport DatagramBatch, Order
from pcgrelay._core.stream.stream cimport ASSOCIATION_CLIENT, ASSOCIATION_LOCAL
from pcgrelay._core.worker.worker cimport WORKER_DATAGRAMS, Listener, Worker


# A datagram that was read and is to be handed over: to which worker, and of whom.
cdef struct Handing:
    uint32_t worker
    uint32_t n
    const uint8_t* p
    uint8_t client[ASSOCIATION_CLIENT]
    uint8_t local[ASSOCIATION_LOCAL]

cdef struct Handings:
    uint32_t count
    Handing each[WORKER_DATAGRAMS]


# The worker that has flows of all routes of an import, for a client with this hash. This one, if it is such a worker,
# or if there is no route.
cdef uint32_t batches_worker(const Worker* self, uint32_t number, uint32_t hash) noexcept nogil

# The bytes that a datagram of n bytes takes in a batch.
cdef uint32_t batches_bytes(uint32_t n) noexcept nogil

# Write those that are for a worker into a batch that has room for them.
cdef void batches_fill(DatagramBatch* batch, uint32_t worker, const Handings* handings) noexcept nogil

# Hand them over: one order for each worker.
cdef void batches_send(Worker* self, const Listener* listener, const Handings* handings) noexcept nogil

# The listener here that stands for another worker's; it is made if there is none. NULL: it cannot be. The order's
# socket passes.
cdef Listener* batches_listener(Worker* self, Order* order) noexcept nogil

# Note that the listeners of an import were closed here.
cdef void batches_unlisten(Worker* self, uint32_t number) noexcept nogil

# Whether a batch was read before such an order that has overtaken it: nobody may answer it any more.
cdef bint batches_is_late(const Worker* self, const DatagramBatch* batch) noexcept nogil

# Iterate over a batch: the next one's bytes, or NULL; *at starts at 0.
cdef const uint8_t* batches_next(const DatagramBatch* batch, uint32_t* at, const uint8_t** client,
                                 const uint8_t** local, uint32_t* n) noexcept nogil

# Free an order that was not carried out, or was: what it holds of the worker that it is for.
cdef void batches_drop(Worker* self, Order* order) noexcept nogil
