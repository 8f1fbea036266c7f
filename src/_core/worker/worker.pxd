# A worker: one thread with one epoll loop. Only this folder makes system calls on the data plane. It never takes the
# interpreter lock.
#
# A turn: wait; take orders; read lanes and mark streams; serve streams that are ready into frames; one send for each
# lane that has something; deadlines; events up; free what ended.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.handle cimport Handle
from pcgrelay._core.edge.clients cimport Clients
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.base.linux cimport mmsghdr, pthread_t
from pcgrelay._core.link.mailbox cimport Mailbox, NudgeOrder, Outbox
from pcgrelay._core.base.map cimport Map
from pcgrelay._core.base.queue cimport Queue, iovec
from pcgrelay._core.stream.stream cimport ASSOCIATION_CLIENT, Dial, Stream


cdef enum:
    WORKER_EDGE = 1
    WORKER_RELAY = 2
    WORKER_SLOT = 266240        # receive space of one read, in whole pages: the four largest frames, sent at once
    WORKER_SLOTS = 8            # how many reads a relay forwards with one send for each lane
    WORKER_READS = 4            # reads of one lane in a turn
    WORKER_ACCEPTS = 64         # of one listener in a turn
    WORKER_FRAMES = 32          # frames made in a turn
    WORKER_TICK_US = 50000
    WORKER_CHANCES = 32
    WORKER_DATAGRAMS = 64       # read or written with one call
    WORKER_DATAGRAM = 65536     # room for one that is read
    WORKER_CONTROL = 64         # and for what comes with it
    WORKER_PORTS = 65536
    WORKER_BATCHES = 64         # of datagrams that wait for one worker
    WORKER_UNLISTENED = 16      # imports whose listeners were closed last

cdef struct Listener:
    Handle handle               # first
    Listener* next
    uint32_t number             # of the import
    uint32_t counts             # the number of its counts; 0: none
    bint paused                 # no descriptors were left
    bint early                  # connections that came before its options were set may be waiting
    Clients* clients            # owned, of an import of datagrams; NULL: it accepts connections
    uint32_t origin             # the worker, plus 1, that reads its socket; 0: this one
    uint32_t origin_serial      # and its number there

# A round over the streams of an outlet. The first goes on in each turn, the others wait.
cdef struct Round:
    Round* next
    NudgeOrder order

# Where datagrams are read to, and what is written with the next call.
cdef struct DatagramSpace:
    mmsghdr inward[WORKER_DATAGRAMS]
    iovec in_vectors[WORKER_DATAGRAMS]
    uint8_t in_names[WORKER_DATAGRAMS][ASSOCIATION_CLIENT]
    uint8_t in_controls[WORKER_DATAGRAMS][WORKER_CONTROL]
    uint32_t in_used            # the first so many of `inward` are as the system has left them
    mmsghdr outward[WORKER_DATAGRAMS]
    iovec out_vectors[WORKER_DATAGRAMS]
    uint8_t out_names[WORKER_DATAGRAMS][ASSOCIATION_CLIENT]
    uint8_t out_controls[WORKER_DATAGRAMS][WORKER_CONTROL]
    Stream* out_streams[WORKER_DATAGRAMS]
    uint32_t out_count
    int out_fd                  # all of them are for this socket
    uint8_t* bytes              # owned: WORKER_DATAGRAMS x WORKER_DATAGRAM; the system gives a page as it is touched

cdef struct Worker:
    Shard shard
    Mailbox mailbox
    Handle mailbox_handle
    Worker* siblings            # all workers of the node; this one is siblings[shard.index]
    Listener* listeners         # owned
    Listener* deferred_listeners  # closed in this turn: epoll's events may still name them
    Dial* deferred_dials          # the same
    Round* rounds               # owned
    uint8_t* space              # owned: WORKER_SLOTS x WORKER_SLOT
    uint32_t serials            # the greatest number of a listener of datagrams
    int batches                 # of datagrams of other workers' sockets, that wait in the mailbox
    uint32_t unlistens          # orders UNLISTEN that were carried out
    uint32_t unlistened[WORKER_UNLISTENED]  # the imports of the last of them: of the n-th at n modulo its length
    DatagramSpace* datagrams    # owned; NULL: it has had none yet
    uint32_t* closed_s          # owned, of each local port of UDP: about when it was closed last; 0: it was not
    uint32_t crowded_s          # when none of those that were tried had rested long
    uint64_t next_tick_us
    uint64_t next_ack_us
    pthread_t thread
    uint64_t chances[WORKER_CHANCES]  # random numbers that are not used yet: so many
    uint32_t chances_left
    uint32_t slots_used
    uint32_t role
    int epoll_fd                # owned
    int event_fd                # of the outbox; not owned
    bint starved                # no buffer was left for a frame: no flow is served again before the next event or tick
    bint running
    int stopping                # a flag that the control plane raises
    uint64_t apart[8]           # a cache line: what follows in memory is another worker's


# Watch these events of a descriptor, by EPOLL_CTL_ADD or _MOD. False: epoll refused.
cdef bint worker_watch(Worker* self, Handle* handle, uint32_t events, int op) noexcept nogil

# Close a watched descriptor, if there is one; by a reset if hard. If another process has a copy, it is unwatched and
# shut down first: otherwise epoll would report events of a freed handle, and the far end would see no end. Its local
# port may be used again after a moment.
cdef void worker_close(Worker* self, Handle* handle, bint hard) noexcept nogil

# Send the first spans of a queue with one call; asked: how many bytes it tried. Returns what sendmsg does, with errno;
# the queue is not changed.
cdef ssize_t worker_send(Worker* self, int fd, Queue* queue, uint64_t* asked) noexcept nogil

# Reset the connection of a socket, even if another process has a copy, and close it.
cdef void worker_reset(int fd) noexcept nogil

# Wake the reader of this eventfd.
cdef void worker_wake(int fd) noexcept nogil

# Clear the eventfd; what comes from now on wakes again.
cdef void worker_woken(int fd) noexcept nogil
