# Counters of one worker. Only that worker writes them; any thread may read them: each is one aligned word.
from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.atomics cimport counter_add


# Causes of the end of a stream, for the local log. The far edge gets a code only.
ctypedef uint32_t Cause

cdef enum:
    CAUSE_DONE
    CAUSE_APPLICATION_RESET
    CAUSE_FAR_RESET
    CAUSE_TARGET_REFUSED
    CAUSE_TARGET_SILENT
    CAUSE_TARGET_UNRESOLVED
    CAUSE_TARGET_UNREACHABLE
    CAUSE_NOT_ALLOWED
    CAUSE_UNKNOWN_SERVICE
    CAUSE_MARKING
    CAUSE_NO_ROUTE
    CAUSE_WAITED_TOO_LONG
    CAUSE_SESSION_LOST
    CAUSE_BUDGET
    CAUSE_LIMIT
    CAUSE_DRAINING
    CAUSE_LINGER
    CAUSE_DESCRIPTORS
    CAUSE_SHUTDOWN
    CAUSE_NO_LOCAL_PORT
    CAUSE_CONNECT_FORBIDDEN
    CAUSE_NUDGED
    CAUSE_ORGANISATION_LIMIT
    CAUSE_RATE_LIMIT
    CAUSE_IDLE
    CAUSE_DURATION
    CAUSE_NO_SOURCE
    CAUSE_TRANSPORT
    CAUSE_COUNT

cdef enum:
    COUNT_FRAMES_SENT
    COUNT_FRAMES_RECEIVED
    COUNT_BYTES_SENT
    COUNT_BYTES_RECEIVED
    COUNT_FRAMES_FORWARDED
    COUNT_FRAMES_DROPPED
    COUNT_LANES_OPENED
    COUNT_LANES_CLOSED
    COUNT_STREAMS_OPENED
    COUNT_STREAMS_CLOSED
    COUNT_STREAMS_REFUSED
    COUNT_STREAMS_WAITED
    COUNT_APPLICATION_SENT
    COUNT_APPLICATION_RECEIVED
    COUNT_DUPLICATES
    COUNT_GAPS
    COUNT_RESUMES
    COUNT_LATE_RECORDS
    COUNT_REKEYS
    COUNT_UNKNOWN_FLOWS
    COUNT_PONGS_UNKNOWN
    COUNT_ACCEPT_FAILED
    COUNT_DATAGRAMS_IGNORED
    COUNT_SYSTEM_CALLS
    COUNT_TURNS
    COUNT_SETTLED_BYTES
    COUNT_REKEYS_MIXED
    COUNT_STREAMS_JUDGED
    COUNT_STREAMS_MOVED
    COUNT_STREAMS_NUDGED
    COUNT_DATAGRAM_FRAMES_LATE
    COUNT_DATAGRAM_FRAMES_REPLAYED
    COUNT_DATAGRAM_FRAMES_NO_LANE
    COUNT_DATAGRAM_FRAMES_NO_ROOM
    COUNT_DATAGRAMS_SENT        # of applications, into frames,
    COUNT_DATAGRAMS_RECEIVED    # and for them
    COUNT_DATAGRAMS_HANDED      # from worker to worker
    COUNT_DATAGRAM_READS        # calls of the system that brought some,
    COUNT_DATAGRAM_WRITES       # and that took some
    COUNT_DATAGRAM_FRAMES_OLD
    COUNT_UDP_PACKETS_SENT
    COUNT_UDP_PACKETS_TAKEN
    COUNT_UDP_BYTES_SENT        # of these packets, as the system counts them: without the heads of UDP and IP
    COUNT_UDP_BYTES_TAKEN
    COUNT_UDP_SENDS             # messages for the system, of one packet or of many of one length
    COUNT_UDP_NOT_SENT          # packets that it did not take, or for which there was no room
    COUNT_UDP_TOO_LONG          # frames that went by the TCP lane beside a UDP lane that carries no frame as long
    COUNT_UDP_BAD_TOKEN         # these: packets that were not taken
    COUNT_UDP_BAD_LENGTH
    COUNT_UDP_BAD_TAG
    COUNT_UDP_LATE
    COUNT_UDP_REPLAYED
    COUNT_UDP_MALFORMED         # it opened, and is none that may come by a UDP lane
    COUNT_UDP_GLITCHES          # PROBEs beyond the budget
    COUNT_COUNT

# Why a datagram was dropped.
cdef enum:
    DROP_QUEUE                  # others waited before it, or a socket or the memory was full
    DROP_AGE                    # it waited too long for its flow
    DROP_NO_ROUTE
    DROP_LIMIT                  # of new associations, or of all
    DROP_TOO_LONG
    DROP_NO_STREAM              # its association has ended, or its OPEN was lost
    DROP_SOURCE                 # its client is in none of the import's prefixes
    DROP_UNREACHABLE            # the system has no way to the client or target, or forbids it
    DROP_RATE                   # more bytes in a second than its service may have
    DROP_CAUSES

cdef enum:
    STATS_SERVICES = 1024       # imports and exports with a lower number have their open streams counted
    STATS_LISTENERS = 512       # listeners of imports that are counted apart have a lower number, and not 0

# What came by one listener of an import.
cdef struct ListenerCounts:
    uint64_t accepted           # connections, whatever became of them
    uint64_t active             # streams that are open now
    uint64_t sent               # bytes of streams that have ended: of the application,
    uint64_t received           # and for it

cdef struct Stats:
    uint64_t count[64]
    uint64_t refused[48]
    uint64_t cause[48]
    uint64_t dropped[16]        # datagrams, by cause
    uint64_t streams            # open now
    uint32_t of_import[STATS_SERVICES]
    uint32_t of_export[STATS_SERVICES]
    ListenerCounts of_listener[STATS_LISTENERS]

# A stream of a listener begins (n = 1), or ends (-1) with so many bytes. listener: the number of its counts, not 0.
cdef inline void listener_count(Stats* self, uint32_t listener, int n, uint64_t sent,
                                uint64_t received) noexcept nogil:
    counter_add(&self.of_listener[listener].active, <uint64_t>n)
    if n < 0:
        counter_add(&self.of_listener[listener].sent, sent)
        counter_add(&self.of_listener[listener].received, received)

# Limits of one service's streams; 0: none.
cdef struct ServiceBounds:
    uint32_t streams            # that may be open
    uint32_t of_each            # of these, of one organisation's; exports alone
    uint32_t each_second        # new ones: of an export those of one organisation, of an import all
    uint32_t idle_s             # without a byte either way
    uint32_t lasts_s

# What a service of datagrams may carry in a second, in each direction.
cdef struct ServiceRate:
    uint32_t bytes              # 0: no limit
    uint64_t from_socket_ns     # the budgets, as times (bucket.pxd): of what comes from applications or the target,
    uint64_t to_socket_ns       # and of what goes to them

# Limits of streams and descriptors, for all workers of a node. Only the control plane writes them, and workers the
# budgets.
cdef struct Bounds:
    Stats** stats               # of each worker
    uint32_t workers
    uint32_t descriptors        # those from this number on are reserved for the control plane; 0: none
    uint32_t timed              # how many services have idle_s or lasts_s,
    uint32_t times              # and how often one of these was changed
    uint32_t rated              # how many services have a rate
    ServiceBounds of_peer       # of one organisation over all exports: streams and each_second alone
    ServiceBounds of_import[STATS_SERVICES]
    ServiceBounds of_export[STATS_SERVICES]
    uint64_t import_rate_us[STATS_SERVICES]  # budgets of new streams (bucket.pxd)
    ServiceRate rate_of_import[STATS_SERVICES]
    ServiceRate rate_of_export[STATS_SERVICES]
