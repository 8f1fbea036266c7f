# The Shard: what one worker owns, and the records of the links and lanes in it.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.bucket cimport Bucket
from pcgrelay._core.base.buf cimport Buf, Pool
from pcgrelay._core.base.handle cimport Handle
from pcgrelay._core.base.map cimport Map, map_next
from pcgrelay._core.base.ports cimport Ports
from pcgrelay._core.base.queue cimport Queue
from pcgrelay._core.base.stats cimport Bounds, STATS_SERVICES, Stats
from pcgrelay._core.base.timer cimport Wheel
from pcgrelay._core.base.wire cimport WIRE_LANES_MAX
from pcgrelay._core.crypto.epoch cimport Epoch, Limits
from pcgrelay._core.crypto.renewal cimport Owed, Renewals
from pcgrelay._core.crypto.replay cimport Replay
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.gauge cimport Gauge
from pcgrelay._core.link.mailbox cimport Event, OUTBOX_TURN, Outbox
from pcgrelay._core.link.udp_probes cimport UdpProbes
from pcgrelay._core.stream.flow cimport Flow
from pcgrelay._core.stream.stream_list cimport StreamList
from pcgrelay._core.stream.service_tables cimport Tables
from pcgrelay._core.stream.stream cimport Setup, Stream


cdef enum:
    EVENTS_WAIT = 256           # ends of streams

cdef enum:
    LANE_CONFIRMING = 0
    LANE_UP = 1
    LANE_DRAINING = 2
    LANE_CLOSED = 3

cdef enum:
    LANE_CLASSES = 4            # 0: the lane's own frames; then critical, interactive, normal
    LANE_WIRE = 262144          # bytes sealed and unsent at most, about; less on a slow lane
    LANE_WIRE_LEAST = 32768     # never less than the room of a bulk read
    LANE_WIRE_US = 10000        # of a slow lane: what it carries in this time, as nothing can overtake sealed frames
    LANE_PACE_US = 100000       # how long its rate is measured
    LANE_BACKLOG = 262144       # more waiting than this, and an edge reads no bulk for the lane
    LANE_BACKLOG_SMALL = 524288
    LANE_BRISK_US = 1000000     # so long after datagrams, an edge keeps the bulk that would delay others short
    LANE_OLD_US = 1000000       # a relay sends no datagrams on that have waited longer
    LANE_SILENCE = 4            # probe intervals without a byte
    LANE_FRAME_US = 30000000    # within this time a frame that has begun must be whole: even the slowest lane does that
    LANE_UNREAD = 8             # probe intervals in which the peer's TCP accepts no byte
    LANE_PINGS = 100            # PINGs that are answered at once,
    LANE_PING_US = 50000        # and one more each so long
    LANE_REKEYS = 100           # REKEYs that are accepted at once,
    LANE_REKEY_US = 50000       # and one more each so long
    LANE_STEPS = 20             # REKEYs that are sent at once: fewer, as they may arrive in one burst after an outage
    LANE_STEP_US = 100000
    LANE_OWN = 1024             # queued frames of the lane itself: a lane with more is closed, its peer does not read
    LANE_LOSTS = 64             # LOST frames for unknown labels, at once,
    LANE_LOST_US = 15625        # and one more each so long
    LANE_PINGS_LATE = 2         # probe intervals: a PING whose PONG takes longer counts as lost
    LANE_OVERTAKEN = 524288     # after so many bytes of higher classes, a class that waits is served

cdef struct Lane:
    Handle handle               # first
    Link* link
    Epoch tx
    Epoch rx
    Queue pending[LANE_CLASSES]
    uint64_t overtaken[LANE_CLASSES]  # bytes of higher classes since it was served last, while it waited
    Queue wire
    Buf* partial                # a frame whose end has not arrived; owned
    Frame head                  # its header, if that was opened
    Lane* next_dirty
    Lane* next_unread
    Lane* next                  # all lanes of the shard
    Lane* prev
    uint64_t tx_number          # hop numbers
    uint64_t rx_number
    uint64_t opened_us
    uint64_t heard_us           # when bytes last arrived
    uint64_t partial_us         # when partial began
    uint64_t ping_due_us
    uint64_t ping_token         # 0: no PING is out
    uint64_t ping_sent_us
    uint64_t round_trip_us
    Bucket pings_us             # what was taken of LANE_PINGS,
    Bucket losts_us             # what was sent of LANE_LOSTS,
    Bucket rekeys_us            # what was taken of LANE_REKEYS,
    Bucket steps_us             # and what was sent of LANE_STEPS
    uint64_t tx_mix             # the renewal with which tx has stepped last; 0: none
    uint64_t tx_mix_token       # of the PING that was out then: the answer to a later one shows that the step arrived
    uint64_t tx_mix_acked       # the renewal whose step is known to have arrived
    uint64_t stepped_counted    # of lane_stepped, counted in the link's gauge
    Owed owed                   # the renewal with which the peer must step
    uint64_t paced_us           # since when its rate is measured,
    uint64_t paced_bytes        # and what was sent since
    uint64_t datagrams_us       # when an edge last sent datagrams by it
    uint32_t ahead              # LANE_WIRE, or what the lane carries in LANE_WIRE_US
    uint32_t number
    uint32_t partial_need       # bytes of partial that have not arrived
    uint16_t index
    uint8_t state
    bint head_open              # the header of partial was opened in place
    bint writable
    bint hangup                 # the socket has seen the peer's FIN, perhaps behind bytes
    bint unread                 # it used up its share of the turn, and may have more to read
    bint dirty
    bint deferred
    bint clogged                # its socket was full since then
    uint32_t close_code

# A socket by which UDP lanes of this worker go.
cdef struct UdpSocket:
    Handle handle               # first
    UdpSocket* next
    uint32_t number
    bint uncut                  # the system cuts no long message into packets: each goes by itself

# A UDP lane: what it is, and its rules, stand in `udp_lane`.
cdef struct UdpLane:
    Link* link
    UdpSocket* socket
    UdpLane* next               # all of the shard
    UdpLane* next_dirty
    Epoch tx
    Epoch rx
    Replay window
    UdpProbes probes
    Buf* out_first              # owned: packets that are sealed, and leave at the end of the turn
    Buf* out_last
    uint64_t tx_number          # hop numbers
    uint64_t sent_packets       # that were sealed, by this process and those before,
    uint64_t taken_packets      # that opened,
    uint64_t refused_packets    # and that named its token and were dropped
    uint64_t sent_counted       # of these three, counted among the link's figures
    uint64_t taken_counted
    uint64_t refused_counted
    uint64_t opened_us
    uint64_t until_us           # when it closes, as another has its place; 0: it has it still
    uint64_t owed_probe         # of the peer, that came before this side could answer; 0: none
    Bucket reports_us           # what was sent of UDP_REPORTS
    uint32_t index
    uint32_t number
    uint32_t token              # of packets to this side,
    uint32_t peer_token         # and of those to the peer; 0: not known yet
    uint32_t out_count          # packets in out
    uint8_t peer[28]            # its socket address
    uint32_t peer_length
    bint dirty
    bint told_spent

cdef struct Link:
    Lane* lanes[WIRE_LANES_MAX]  # by index, those of this worker; NULL: none
    UdpLane* udp_lanes[WIRE_LANES_MAX]  # those by which datagrams go; NULL: they go by the lane
    Gauge* gauge                # owned: one reference
    Renewals renewals
    uint8_t binding[32]
    uint32_t number
    uint32_t suite
    uint32_t lane_count
    bint dialler

# Everything a worker owns, except its descriptors.
cdef struct Shard:
    Pool pool
    Stats stats
    Wheel wheel
    Limits limits
    Map links                   # number -> Link
    Map labels                  # a relay: label -> PathEnd. An edge: label -> Session
    Map candidates              # an edge: label of a candidate -> Session
    Map outs                    # a relay: hash of link and outgoing label -> PathEnd
    Map paths                   # a relay: number -> Path
    Map sessions                # an edge: number -> Session
    Tables* tables              # one reference
    Bounds* bounds              # of the node; NULL: none
    uint32_t times_seen         # bounds.times, as its streams have them
    uint32_t source_turn        # of the addresses to connect from
    Ports ports                 # and the local ports
    Outbox* outbox
    Event events[OUTBOX_TURN]   # not yet passed on
    Lane* lanes
    Lane* unread
    Lane* dirty_lanes
    UdpSocket* udp_sockets      # owned
    UdpLane* udp_lanes          # owned
    UdpLane* dirty_udp_lanes
    Map udp_tokens              # token -> UdpLane
    Stream* dirty_streams       # first and last of those with bytes for the application
    Stream* dirty_last
    Stream* waiting             # streams that wait for a route
    Setup* setups               # of all streams whose import has several outlets
    Setup* walked               # of these, the one that the round under way looks at next
    Stream* directs             # halves of direct streams
    StreamList direct_ready     # of these, with something to read
    uint8_t client[28]          # the socket address of the application that was accepted last
    uint16_t listener           # and the counts of the listener that it came by; 0: none
    uint32_t client_length
    Stream* deferred_streams
    Lane* deferred_lanes
    Flow* active_first
    Flow* active_last
    Flow* due
    void* dying_paths
    uint64_t now_us
    uint64_t probe_us
    uint64_t handshake_us
    uint64_t wait_us
    uint64_t linger_us
    uint32_t turns[STATS_SERVICES]  # of each import: how often a route of it was chosen by weight
    uint64_t token              # for PINGs
    uint64_t windows            # bytes of credit granted and not yet used
    uint32_t event_count
    bint lent                   # streams refer to bytes of a frame that is dropped after handling: deliver before that
    bint losts_owed             # some LOST frames found no room
    bint events_due             # they do not wait for the tick
    bint wake_due               # the reader of the outbox sleeps and is to be woken at the end of the turn
    uint32_t index
    uint32_t workers
    uint32_t waiting_count
    uint32_t keepalive_s
    bint draining

# Room for an event of this turn, kind set and the rest zero. Events beyond OUTBOX_TURN are counted as lost; the worker
# never waits.
cdef Event* shard_event(Shard* shard, uint32_t kind) noexcept nogil

# At the end of the turn, pass events on; whether their reader must be woken. Ends of streams are for counts and the log
# only: they wait for the next tick, for any other event, or until there are EVENTS_WAIT of them. Waking Python for each
# would cost more time on a processor that it shares with the worker than the stream did.
cdef void shard_events_pass(Shard* shard, bint* wake) noexcept nogil

# Keep the secret of a renewal of a link or session of that number, and report it to the control plane by an event of
# that kind with that serial. The caller wipes secret.
cdef void shard_renew(Shard* shard, Renewals* renewals, uint32_t kind, uint32_t number, uint64_t mix,
                      const uint8_t* secret, uint64_t serial) noexcept nogil

# The lane that carries a flow now, or NULL.
cdef inline Lane* flow_lane(const Flow* flow) noexcept nogil:
    return <Lane*>flow.lane

# Iterate over the links: the next one, or NULL; *at starts at 0.
cdef inline Link* link_next(const Shard* shard, uint32_t* at) noexcept nogil:
    return <Link*>map_next(&shard.links, at)

cdef inline bint lane_is_up(const Lane* lane) noexcept nogil:
    return lane.state == LANE_UP or lane.state == LANE_DRAINING

# The newest renewal with which both directions have stepped, and of which no step is under way.
cdef inline uint64_t lane_stepped(const Lane* lane) noexcept nogil:
    return lane.tx_mix_acked if lane.tx_mix_acked < lane.owed.mix else lane.owed.mix

# Mark a lane that has something to send or must be checked at the end of this turn.
cdef inline void lane_dirty(Shard* shard, Lane* lane) noexcept nogil:
    if not lane.dirty:
        lane.dirty = True
        lane.next_dirty = shard.dirty_lanes
        shard.dirty_lanes = lane
