from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pcgrelay._core.base.atomics cimport counter_add
from pcgrelay._core.base.buf cimport Buf, buf_alloc, buf_data, buf_drop, pool_alloc, pool_free
from pcgrelay._core.frame.frame cimport Frame
from pcgrelay._core.link.link cimport link_find
from pcgrelay._core.link.shard cimport LANE_CLASSES, Lane, Link, Shard, UdpLane, lane_is_up, link_next
from pcgrelay._core.base.map cimport map_find, map_put, map_remove
from pcgrelay._core.base.queue cimport Account, queue_at, queue_cut, queue_own_counted
from pcgrelay._core.base.result cimport RESULT_BUDGET, RESULT_NO_MEMORY, RESULT_OK, RESULT_UNKNOWN_FLOW, Result
from pcgrelay._core.link.lane_send cimport lane_push, lane_stamp, lane_tx_lost, lane_tx_unknown
from pcgrelay._core.link.udp_lane cimport udp_lane_bears, udp_lane_push
from pcgrelay._core.base.stats cimport (
    COUNT_DATAGRAM_FRAMES_NO_LANE, COUNT_DATAGRAM_FRAMES_NO_ROOM, COUNT_FRAMES_DROPPED, COUNT_FRAMES_FORWARDED,
    COUNT_SETTLED_BYTES, COUNT_UNKNOWN_FLOWS,
)
from pcgrelay._core.base.wire cimport (
    CODE_BUSY, CODE_UNREACHABLE, FRAME_DATAGRAMS, FRAME_RESUME, WIRE_BODY_MAX, WIRE_PREFIX, wire_put32,
)


cdef enum:
    LOST_SAID = 1
    LOST_OWED = 2
    LOSTS_AT_ONCE = 512         # half of LANE_OWN, the frames of the lane itself that may wait
    DATAGRAMS_MOST = 131072     # bytes of a flow's datagrams that may wait: the least cap of a path


cdef inline uint32_t out_hash(uint32_t link, uint32_t label) noexcept nogil:
    return label ^ (link * <uint32_t>2654435769)


cdef bint end_start(Shard* shard, PathEnd* end, Path* path, uint32_t in_link, uint32_t in_label, uint32_t out_link,
                    uint32_t out_label, uint64_t cap, uint32_t slots) noexcept nogil:
    cdef uint32_t i
    end.path = path
    end.slots = slots
    end.in_link = in_link
    end.in_label = in_label
    end.out_link = out_link
    end.out_label = out_label
    end.accounts = <Account*>pool_alloc(&shard.pool, 2 * slots * sizeof(Account))
    end.lost = <uint8_t*>pool_alloc(&shard.pool, slots)
    if end.accounts == NULL or end.lost == NULL:
        return False
    for i in range(2 * slots):
        end.accounts[i].owner = end
        end.accounts[i].cap = cap if i < slots else DATAGRAMS_MOST
    end.next_out = <PathEnd*>map_find(&shard.outs, out_hash(out_link, out_label))
    if not map_put(&shard.labels, in_label, end):
        return False
    return map_put(&shard.outs, out_hash(out_link, out_label), end)


cdef void end_stop(Shard* shard, PathEnd* end) noexcept nogil:
    cdef uint32_t hash = out_hash(end.out_link, end.out_label)
    cdef PathEnd* before = <PathEnd*>map_find(&shard.outs, hash)
    if map_find(&shard.labels, end.in_label) == end:
        map_remove(&shard.labels, end.in_label)
    if before == end:
        map_remove(&shard.outs, hash)
        if end.next_out != NULL:
            map_put(&shard.outs, hash, end.next_out)
        return
    while before != NULL and before.next_out != end:
        before = before.next_out
    if before != NULL:
        before.next_out = end.next_out


cdef void path_free(Shard* shard, Path* path) noexcept nogil:
    cdef uint32_t i
    for i in range(2):
        if path.ends[i].accounts != NULL:
            pool_free(&shard.pool, path.ends[i].accounts, 2 * path.ends[i].slots * sizeof(Account))
        if path.ends[i].lost != NULL:
            pool_free(&shard.pool, path.ends[i].lost, path.ends[i].slots)
    pool_free(&shard.pool, path, sizeof(Path))


cdef Result relay_path_add(Shard* shard, uint32_t number, uint32_t a_link, uint32_t a_in, uint32_t a_out,
                           uint32_t b_link, uint32_t b_in, uint32_t b_out, uint64_t cap, uint32_t priority,
                           uint32_t lanes) noexcept nogil:
    cdef uint32_t slots = (lanes + shard.workers - 1) / shard.workers
    cdef Path* path = <Path*>pool_alloc(&shard.pool, sizeof(Path))
    if path == NULL:
        return RESULT_NO_MEMORY
    path.number = number
    path.priority = priority
    if end_start(shard, &path.ends[0], path, a_link, a_in, b_link, b_out, cap, slots) \
            and end_start(shard, &path.ends[1], path, b_link, b_in, a_link, a_out, cap, slots) \
            and map_put(&shard.paths, number, path):
        return RESULT_OK
    end_stop(shard, &path.ends[0])
    end_stop(shard, &path.ends[1])
    path_free(shard, path)
    return RESULT_NO_MEMORY


cdef void relay_path_remove(Shard* shard, uint32_t number) noexcept nogil:
    cdef Path* path = <Path*>map_remove(&shard.paths, number)
    if path == NULL:
        return
    end_stop(shard, &path.ends[0])
    end_stop(shard, &path.ends[1])
    # Frames that are queued in lanes are still counted on its accounts.
    path.next_dying = <Path*>shard.dying_paths
    shard.dying_paths = path


cdef bint path_waits(const Path* path) noexcept nogil:
    cdef uint32_t i, j
    for i in range(2):
        for j in range(2 * path.ends[i].slots):
            if path.ends[i].accounts[j].items != 0:
                return True
    return False


cdef void relay_sweep(Shard* shard, bint all) noexcept nogil:
    cdef Path* path = <Path*>shard.dying_paths
    cdef Path* following
    shard.dying_paths = NULL
    while path != NULL:
        following = path.next_dying
        if all or not path_waits(path):
            path_free(shard, path)
        else:
            path.next_dying = <Path*>shard.dying_paths
            shard.dying_paths = path
        path = following


# Mark the flow of this lane index as lost: a frame of it cannot be forwarded.
cdef Result end_lose(Shard* shard, PathEnd* end, uint32_t index, uint32_t code) noexcept nogil:
    counter_add(&shard.stats.count[COUNT_FRAMES_DROPPED], 1)
    return end_tell(shard, end, index, code)


# Drop the flow of this lane index until a RESUME passes, and send LOST once to the side it comes from. When very many
# are lost at once, those LOST frames that find no room are sent by a tick.
cdef Result end_tell(Shard* shard, PathEnd* end, uint32_t index, uint32_t code) noexcept nogil:
    cdef uint32_t slot = index / shard.workers
    cdef Link* link
    if end.lost[slot] == LOST_SAID:
        return RESULT_OK
    end.lost[slot] = LOST_SAID
    link = link_find(shard, end.in_link)
    if link == NULL or link.lanes[index] == NULL:
        # It was lost before it reached this node, and the node that lost that lane sends LOST.
        return RESULT_OK
    if link.lanes[index].pending[0].count >= LOSTS_AT_ONCE:
        end.lost[slot] = LOST_OWED
        shard.losts_owed = True
        return RESULT_OK
    return lane_tx_lost(shard, link.lanes[index], end.in_label, code)


cdef void relay_lane_down(Shard* shard, uint32_t link, uint32_t index) noexcept nogil:
    cdef uint32_t i, at = 0
    cdef Path* path
    while True:
        path = path_next(shard, &at)
        if path == NULL:
            return
        for i in range(2):
            if path.ends[i].out_link == link and index / shard.workers < path.ends[i].slots:
                # An edge that no LOST reaches notices by silence.
                end_tell(shard, &path.ends[i], index, CODE_UNREACHABLE)


cdef void relay_tell_owed(Shard* shard) noexcept nogil:
    cdef uint32_t i, slot, at = 0
    cdef Path* path
    shard.losts_owed = False
    while True:
        path = path_next(shard, &at)
        if path == NULL:
            return
        for i in range(2):
            for slot in range(path.ends[i].slots):
                if path.ends[i].lost[slot] == LOST_OWED:
                    # An edge that no LOST reaches notices by silence.
                    end_tell(shard, &path.ends[i], slot * shard.workers + shard.index, CODE_UNREACHABLE)


cdef Result relay_frame(Shard* shard, Lane* lane, const Frame* frame, uint8_t* wire, Buf* owner) noexcept nogil:
    cdef PathEnd* end = <PathEnd*>map_find(&shard.labels, frame.flow)
    cdef uint32_t slot = lane.index / shard.workers
    cdef Link* link
    cdef Lane* out
    cdef Account* account
    cdef Result answer
    if end == NULL or end.in_link != lane.link.number or slot >= end.slots:
        # Not a fault of the peer: the path may just have been removed. LOST is sent, at a limited rate.
        counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
        counter_add(&shard.stats.refused[<int>RESULT_UNKNOWN_FLOW], 1)
        return RESULT_OK if frame.type == FRAME_DATAGRAMS else lane_tx_unknown(shard, lane, frame.flow)
    link = link_find(shard, end.out_link)
    out = NULL if link == NULL else link.lanes[lane.index]
    if frame.type == FRAME_DATAGRAMS:
        relay_datagrams(shard, link, end, lane.index, frame, wire, owner)
        return RESULT_OK
    if frame.type == FRAME_RESUME:
        end.lost[slot] = 0
    elif end.lost[slot]:
        counter_add(&shard.stats.count[COUNT_FRAMES_DROPPED], 1)
        return RESULT_OK
    if out == NULL or not lane_is_up(out):
        return end_lose(shard, end, lane.index, CODE_UNREACHABLE)
    account = &end.accounts[slot]
    # A sender within its cap never gets here; one frame of tolerance covers a frame that was split into two.
    if account.queued > account.cap + WIRE_BODY_MAX + WIRE_PREFIX:
        counter_add(&shard.stats.refused[<int>RESULT_BUDGET], 1)
        return end_lose(shard, end, lane.index, CODE_BUSY)
    wire_put32(wire + 4, end.out_label)
    if owner != NULL:
        owner.refs += 1
    answer = lane_push(shard, out, wire, WIRE_PREFIX + frame.length, owner, account, end.path.priority)
    while answer != RESULT_OK and relieve(shard, out):
        answer = lane_push(shard, out, wire, WIRE_PREFIX + frame.length, owner, account, end.path.priority)
    if answer != RESULT_OK:
        if owner != NULL:
            owner.refs -= 1
        return end_lose(shard, end, lane.index, CODE_BUSY)
    counter_add(&shard.stats.count[COUNT_FRAMES_FORWARDED], 1)
    return RESULT_OK


# Whether a frame of datagrams may go on now; it gets its next label. out: the lane of its index, or NULL.
cdef bint datagrams_may_go(Shard* shard, const Lane* out, const PathEnd* end, uint32_t slot,
                           uint8_t* wire) noexcept nogil:
    if end.lost[slot] or out == NULL or not lane_is_up(out):
        drop_datagrams(shard, COUNT_DATAGRAM_FRAMES_NO_LANE)
        return False
    wire_put32(wire + 4, end.out_label)
    return True


# Send it by the UDP lane of the index, if there is one that bears it.
cdef inline bint datagrams_by_udp(Shard* shard, Link* link, uint32_t index, const Frame* frame,
                                  const uint8_t* wire) noexcept nogil:
    cdef UdpLane* udp = link.udp_lanes[index]
    if udp == NULL or not udp_lane_bears(shard, udp, frame.length):
        return False
    udp_lane_push(shard, udp, wire, frame.length)
    counter_add(&shard.stats.count[COUNT_FRAMES_FORWARDED], 1)
    return True


cdef void datagrams_by_lane(Shard* shard, Lane* out, PathEnd* end, uint32_t slot, const Frame* frame, uint8_t* wire,
                            Buf* owner) noexcept nogil:
    cdef Account* account = end_account(end, slot, True)
    lane_stamp(shard, wire)
    if owner != NULL:
        owner.refs += 1
    # Nothing that others have queued makes room for them.
    if account.queued >= account.cap or lane_push(shard, out, wire, WIRE_PREFIX + frame.length, owner, account,
                                                  end.path.priority) != RESULT_OK:
        if owner != NULL:
            owner.refs -= 1
        drop_datagrams(shard, COUNT_DATAGRAM_FRAMES_NO_ROOM)
        return
    counter_add(&shard.stats.count[COUNT_FRAMES_FORWARDED], 1)


# What came by a lane goes by the lane: an edge sends the first datagrams of an association there, for they must not
# overtake their OPEN.
cdef void relay_datagrams(Shard* shard, Link* link, PathEnd* end, uint32_t index, const Frame* frame, uint8_t* wire,
                          Buf* owner) noexcept nogil:
    cdef Lane* out = NULL if link == NULL else link.lanes[index]
    cdef uint32_t slot = index / shard.workers
    if datagrams_may_go(shard, out, end, slot, wire):
        datagrams_by_lane(shard, out, end, slot, frame, wire, owner)


cdef void relay_packet(Shard* shard, const UdpLane* lane, const Frame* frame, uint8_t* wire) noexcept nogil:
    cdef PathEnd* end = <PathEnd*>map_find(&shard.labels, frame.flow)
    cdef uint32_t slot = lane.index / shard.workers
    cdef Link* link
    cdef Lane* out
    cdef Buf* buf
    if end == NULL or end.in_link != lane.link.number or slot >= end.slots:
        counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
        counter_add(&shard.stats.refused[<int>RESULT_UNKNOWN_FLOW], 1)
        return
    link = link_find(shard, end.out_link)
    out = NULL if link == NULL else link.lanes[lane.index]
    if not datagrams_may_go(shard, out, end, slot, wire) or datagrams_by_udp(shard, link, lane.index, frame, wire):
        return
    # A lane may send it later than the space of packets is used again.
    buf = buf_alloc(&shard.pool, WIRE_PREFIX + frame.length, False)
    if buf == NULL:
        drop_datagrams(shard, COUNT_DATAGRAM_FRAMES_NO_ROOM)
        return
    buf.length = WIRE_PREFIX + frame.length
    memcpy(buf_data(buf), wire, buf.length)
    datagrams_by_lane(shard, out, end, slot, frame, buf_data(buf), buf)
    buf_drop(&shard.pool, buf)


# Count a frame of datagrams that is dropped: nobody is told.
cdef inline void drop_datagrams(Shard* shard, uint32_t why) noexcept nogil:
    counter_add(&shard.stats.count[COUNT_FRAMES_DROPPED], 1)
    counter_add(&shard.stats.count[why], 1)


cdef Result relay_lost(Shard* shard, Lane* lane, uint32_t label, uint32_t code) noexcept nogil:
    cdef PathEnd* end = <PathEnd*>map_find(&shard.outs, out_hash(lane.link.number, label))
    while end != NULL and (end.out_link != lane.link.number or end.out_label != label):
        end = end.next_out
    if end == NULL or lane.index / shard.workers >= end.slots:
        counter_add(&shard.stats.count[COUNT_UNKNOWN_FLOWS], 1)
        return RESULT_OK
    return end_lose(shard, end, lane.index, code)


# -- when memory is short ---------------------------------------------------------------------------------------------

cdef void relay_own(Shard* shard, Lane* lane) noexcept nogil:
    cdef uint32_t i, first = 0
    cdef uint64_t* copied = &shard.stats.count[COUNT_SETTLED_BYTES]
    for i in range(LANE_CLASSES):
        while queue_own_counted(&lane.pending[i], &shard.pool, False, &first, copied) != RESULT_OK:
            if not relieve(shard, lane):
                cut(shard, lane, i, first)
                break


# Make room for this lane at the expense of the link that holds most. False: that holds no more than twice what the
# lane's own link does, so that after the cut it could hold less.
cdef bint relieve(Shard* shard, Lane* lane) noexcept nogil:
    cdef Link* link = holds_most(shard, lane.link)
    cdef Lane* fullest = NULL
    cdef uint32_t i
    if link_holds(link) <= 2 * link_holds(lane.link):
        return False
    for i in range(link.lane_count):
        if link.lanes[i] != NULL and (fullest == NULL or lane_holds(link.lanes[i]) > lane_holds(fullest)):
            fullest = link.lanes[i]
    # The least urgent class is dropped first.
    i = LANE_CLASSES - 1
    while fullest.pending[i].owned == 0:
        i -= 1
    cut(shard, fullest, i, fullest.pending[i].count / 2)
    return True


# The link with most queued here in owned copies; this one, if no other has more.
cdef Link* holds_most(Shard* shard, Link* link) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint64_t bytes = link_holds(link)
    cdef Link* most = link
    cdef Link* other
    while True:
        other = link_next(shard, &at)
        if other == NULL:
            return most
        if link_holds(other) > bytes:
            most = other
            bytes = link_holds(other)


cdef uint64_t link_holds(const Link* link) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t bytes = 0
    for i in range(link.lane_count):
        if link.lanes[i] != NULL:
            bytes += lane_holds(link.lanes[i])
    return bytes


# Frames of the lane itself have a limit of their own and are never dropped.
cdef uint64_t lane_holds(const Lane* lane) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t bytes = 0
    for i in range(1, LANE_CLASSES):
        bytes += lane.pending[i].owned
    return bytes


# Drop what is queued in a class of the lane from span first on, and send LOST to the senders.
cdef void cut(Shard* shard, Lane* lane, uint32_t waits_in, uint32_t first) noexcept nogil:
    cdef uint32_t i
    cdef Account* account
    counter_add(&shard.stats.refused[<int>RESULT_BUDGET], 1)
    for i in range(first, lane.pending[waits_in].count):
        account = queue_at(&lane.pending[waits_in], i).account
        if queue_at(&lane.pending[waits_in], i).p[3] == FRAME_DATAGRAMS:
            drop_datagrams(shard, COUNT_DATAGRAM_FRAMES_NO_ROOM)
        elif account != NULL:
            # An edge that no LOST reaches notices by silence.
            end_lose(shard, <PathEnd*>account.owner, lane.index, CODE_BUSY)
    queue_cut(&lane.pending[waits_in], &shard.pool, first)
