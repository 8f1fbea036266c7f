# Part of fuzzface.pyx: lanes with their far ends, and a session with its far edge.


# -- lanes and their far ends -----------------------------------------------------------------------------------------

cdef int world_lane(void* world, uint32_t link, uint16_t index, bint greet) noexcept nogil:
    cdef World* self = <World*>world
    cdef Link* known = link_find(&self.worker.shard, link)
    cdef Peer* peer
    cdef Order* order
    cdef int pair[2]
    cdef int at = self.peer_count
    if at == PEERS or known == NULL:
        return -1
    if socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0:
        broken(b"no pair of sockets")
    self.peer_count += 1
    peer = &self.peers[at]
    peer.fd = pair[0]
    peer.link = link
    peer.index = index
    peer.held = <uint8_t*>kept(HELD, &spare_held)
    order = order_new(ORDER_LANE_ADD)
    order.args.lane.link, order.args.lane.index, order.args.lane.number = link, index, self.lane_numbers
    order.fd = pair[1]
    memset(order.secret, <int>self.lane_numbers + 1, 32)
    epoch_start(&peer.tx, order.secret, 1 if known.dialler else 0, self.suite, PURPOSE_HOP_HEADER, True)
    epoch_start(&peer.rx, order.secret, 0 if known.dialler else 1, self.suite, PURPOSE_HOP_HEADER, False)
    put(self, order)
    world_turn(self, False)
    if greet:
        say_confirm(self, at)
    self.lane_numbers += 1
    return at


cdef void say_confirm(World* self, int at) noexcept nogil:
    cdef uint8_t header[16]
    cdef uint8_t body[40]
    cdef uint8_t wire[40 + WIRE_PREFIX]
    memset(header, 0, 16)
    header[3] = FRAME_CONFIRM
    memset(body, 0, 40)
    wire_put16(body, WIRE_VERSION)
    wire_put16(body + 2, self.peers[at].index)
    wire_put32(body + 4, self.lane_numbers)
    world_write(self, at, wire, world_seal(self, at, header, True, body, 40, 0, wire))
    world_turn(self, False)


cdef bint world_has_lane(void* world, int peer) noexcept nogil:
    cdef World* self = <World*>world
    return 0 <= peer < self.peer_count and self.peers[peer].fd >= 0


# The fuzzer may have a frame sealed twice under one number; nobody but it would.
cdef void seal_body(Aead* key, const Scope* scope, uint32_t type, uint64_t number, uint8_t* wire,
                    uint32_t n) noexcept nogil:
    key.floor = 0
    if key.ctx != NULL and body_seal(key, scope, type, number, wire, n) != RESULT_OK:
        broken(b"a body could not be sealed")


cdef uint32_t world_seal(void* world, int at, const uint8_t* header, bint fit, const uint8_t* body, uint32_t n,
                         int flaw, uint8_t* out) noexcept nogil:
    cdef World* self = <World*>world
    cdef Peer* peer = &self.peers[at]
    cdef Scope scope
    cdef uint32_t type = header[3]
    cdef uint64_t number
    cdef Aead* key
    memcpy(out, header, 16)
    memset(out + 16, 0, 32)
    if fit:
        wire_put24(out, n)
    memcpy(out + WIRE_PREFIX, body, n)
    if frame_is_lane(type):
        scope.direction = peer.tx.direction
        scope.index = peer.index
        scope.epoch = peer.tx.number
        seal_body(&peer.tx.control, &scope, type, peer.tx_number, out, n)
    elif self.has_far:
        number = (<uint64_t>out[10] << 40) | (<uint64_t>out[11] << 32) | wire_get32(out + 12)
        scope.direction = self.far.tx.direction
        scope.index = 0
        if frame_is_numbered(type):
            scope.epoch = self.far.tx.number
            seal_body(&self.far.tx.data, &scope, type, number, out, n)
            if number == self.far.tx_next:
                self.far.tx_next += 1
        elif type == FRAME_DATAGRAMS:
            scope.epoch = self.far.tx.control_number
            key = epoch_datagrams(&self.far.tx, scope.epoch, 0)
            if key != NULL:
                seal_body(key, &scope, type, number, out, n)
            if number >= self.far.tx_datagrams:
                self.far.tx_datagrams = number + 1
        else:
            scope.epoch = self.far.tx.control_number
            seal_body(&self.far.tx.control, &scope, type, number, out, n)
            if number >= self.far.tx_control:
                self.far.tx_control = number + 1
            # The worker may step once more when it was told that the last step came.
            if type == FRAME_ACK and n == 8 and wire_get64(body) > self.far.rx_told:
                self.far.rx_told = wire_get64(body)
            elif type == FRAME_RESUME and n == 16 and wire_get64(body + 8) > self.far.rx_told:
                self.far.rx_told = wire_get64(body + 8)
        out[8] = <uint8_t>scope.epoch
    if flaw & 1:
        out[32] ^= 1
    if frame_seal(&peer.tx.data, peer.tx_number, out) != RESULT_OK:
        broken(b"a header could not be sealed")
    peer.tx_number += 1
    if flaw & 2:
        out[16] ^= 1
    if type == FRAME_REKEY and n == 12 and wire_get32(body) == peer.tx.number + 1:
        epoch_step(&peer.tx, NULL)
    elif type == FRAME_FLOW_REKEY and self.has_far and n == 12 and wire_get32(body) == self.far.tx.number + 1:
        epoch_step(&self.far.tx, NULL)
    return WIRE_PREFIX + n


cdef void world_write(void* world, int at, const uint8_t* p, uint32_t n) noexcept nogil:
    cdef World* self = <World*>world
    cdef Peer* peer = &self.peers[at]
    cdef ssize_t sent
    cdef uint32_t idle = 0
    while n != 0 and peer.fd >= 0 and not peer.mute:
        sent = send(peer.fd, p, n, MSG_NOSIGNAL)
        if sent > 0:
            p += sent
            n -= <uint32_t>sent
            idle = 0
            continue
        idle += 1
        if idle == 4:
            # The worker does not read it, or has closed it: nothing that follows can be understood.
            peer.mute = True
            return
        world_turn(self, False)


cdef void world_break(void* world, int at) noexcept nogil:
    cdef World* self = <World*>world
    if self.peers[at].fd >= 0:
        close(self.peers[at].fd)
        self.peers[at].fd = -1


# As if the lane had its share of a turn with bytes left: a socket here holds less than such a share. ends: and as if
# its socket failed later in the same turn.
cdef void world_mark_unread(void* world, bint ends) noexcept nogil:
    cdef World* self = <World*>world
    cdef Shard* shard = &self.worker.shard
    cdef Lane* lane = shard.lanes
    if lane != NULL and not lane.unread:
        lane.unread = True
        lane.next_unread = shard.unread
        shard.unread = lane
        if ends:
            lane_io_end(self.worker, lane, RESULT_SOCKET, CODE_UNREACHABLE)


cdef void world_read(void* world, int at, uint32_t limit) noexcept nogil:
    cdef World* self = <World*>world
    cdef Peer* peer = &self.peers[at]
    cdef Frame frame
    cdef ssize_t got
    if peer.fd < 0:
        return
    if peer.held_n > HELD / 2:
        memmove(peer.held, peer.held + peer.opened, peer.held_n - peer.opened)
        peer.held_n -= peer.opened
        peer.opened = 0
    got = read(peer.fd, peer.held + peer.held_n, limit if limit < HELD / 2 else HELD / 2)
    if got <= 0:
        return
    peer.held_n += <uint32_t>got
    while peer.held_n - peer.opened >= WIRE_PREFIX:
        # Open a copy: the frame may not be whole yet.
        memcpy(scratch, peer.held + peer.opened, WIRE_PREFIX)
        if frame_open(&peer.rx.data, peer.rx_number, scratch, &frame) != RESULT_OK:
            broken(b"the worker's next frame does not open at the far end of the lane")
        if peer.held_n - peer.opened < WIRE_PREFIX + frame.length:
            return
        memcpy(scratch + WIRE_PREFIX, peer.held + peer.opened + WIRE_PREFIX, frame.length)
        peer.rx_number += 1
        peer.opened += WIRE_PREFIX + frame.length
        rx_frame(self, peer, &frame, scratch)


cdef void rx_frame(World* self, Peer* peer, Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Scope scope
    cdef Result answer
    if frame_is_lane(frame.type):
        scope.direction = peer.rx.direction
        scope.index = peer.index
        scope.epoch = peer.rx.number
        if body_open(&peer.rx.control, &scope, frame.type, peer.rx_number - 1, wire, frame.length) != RESULT_OK:
            broken(b"the body of the worker's frame does not open at the far end of the lane")
        if frame.type == FRAME_REKEY:
            if wire_get32(wire + WIRE_PREFIX) != peer.rx.number + 1:
                broken(b"the worker steps to an epoch that is not the next")
            epoch_step(&peer.rx, NULL)
        return
    if not self.has_far:
        return
    if frame.flow != THEIR_LABEL:
        broken(b"a frame of the flow has a label that nobody gave")
    answer = flow_open(&self.far, frame, wire, self.worker.shard.now_us)
    if answer == RESULT_DUPLICATE or answer == RESULT_GAP:
        return
    if answer != RESULT_OK:
        if self.honest:
            broken(b"the far edge refuses a frame of the flow")
        self.honest = False
        return
    if frame.type == FRAME_FLOW_REKEY:
        answer = flow_rx_rekey(&self.far, wire + WIRE_PREFIX, self.worker.shard.now_us)
    elif frame.type == FRAME_BUNDLE:
        answer = read_records(wire + WIRE_PREFIX, frame.length)
    if answer != RESULT_OK:
        broken(b"the far edge refuses what is in a frame of the flow")


cdef Result read_records(const uint8_t* p, uint32_t n) noexcept nogil:
    cdef Record record
    cdef uint32_t used = 0
    cdef Result answer
    while n != 0:
        answer = record_read(p, n, &record, &used)
        if answer != RESULT_OK:
            return answer
        p += used
        n -= used
    return RESULT_OK


cdef const uint8_t* world_sent(void* world, int peer, uint32_t* n) noexcept nogil:
    n[0] = (<World*>world).peers[peer].held_n
    return (<World*>world).peers[peer].held


cdef uint64_t world_events(void* world) noexcept nogil:
    return (<World*>world).events


cdef bint world_ended_by_peer(void* world) noexcept nogil:
    return (<World*>world).ended_by_peer


# -- a session and its far edge ---------------------------------------------------------------------------------------

cdef void world_session(void* world, uint32_t link, bint initiator, uint64_t cap, bint up, int peer) noexcept nogil:
    cdef World* self = <World*>world
    cdef Order* order = order_new(ORDER_SESSION_ADD)
    cdef SessionOrder* args = &order.args.session
    cdef uint8_t secret[32]
    cdef uint8_t binding[32]
    cdef Session* session
    memset(order.secret, 0xee, 32)
    args.number, args.suite, args.initiator, args.flows = SESSION, self.suite, initiator, 1
    args.cap, args.marking = cap, 3
    args.gauge = gauge_new(1, 1)
    put(self, order)
    world_turn(self, False)
    if self.edge_alone:
        session = session_find(&self.worker.shard, SESSION)
        session.flows[0].state = FLOW_UP
        session.flows[0].rx_next = 1
        session.flows[0].confirmed_tx = True
        gauge_at(session.gauge, 0)[SESSION_GAUGE_FLOWS_UP] = 1
        return
    memset(binding, 0, 32)
    memset(secret, 0xee, 32)
    if key_expand_number(secret, b"flow", 0, 2, secret) != RESULT_OK:
        broken(b"no secret for a flow")
    pool_start(&self.far_pool, <uint64_t>1 << 40, 0)
    if flow_start(&self.far, 0, secret, self.suite, not initiator, binding, 1 << 20) != RESULT_OK:
        broken(b"no keys for a flow")
    self.has_far = True
    order = order_new(ORDER_SESSION_PATH)
    order.args.lead.session, order.args.lead.link = SESSION, link
    order.args.lead.in_label, order.args.lead.out_label = OUR_LABEL, THEIR_LABEL
    put(self, order)
    world_turn(self, False)
    if up and peer >= 0:
        world_read(self, peer, HELD)
        say_flow_confirm(self, peer)
        world_turn(self, False)
        world_read(self, peer, HELD)
        session = session_find(&self.worker.shard, SESSION)
        if session == NULL or session.flows[0].state != FLOW_UP:
            broken(b"a session that nobody disturbed did not come up")


cdef void say_flow_confirm(World* self, int at) noexcept nogil:
    cdef Frame frame
    cdef uint8_t header[16]
    cdef uint8_t body[40]
    cdef uint8_t wire[40 + WIRE_PREFIX]
    memset(body, 0, 40)
    wire_put16(body, WIRE_VERSION)
    frame.length, frame.type, frame.flow, frame.epoch, frame.number = 40, FRAME_FLOW_CONFIRM, OUR_LABEL, 0, 0
    frame_pack(&frame, header)
    world_write(self, at, wire, world_seal(self, at, header, True, body, 40, 0, wire))


cdef uint64_t world_number(void* world, uint32_t type) noexcept nogil:
    cdef World* self = <World*>world
    if type == FRAME_DATAGRAMS:
        return self.far.tx_datagrams
    return self.far.tx_next if frame_is_numbered(type) else self.far.tx_control


cdef uint64_t world_expected(void* world) noexcept nogil:
    return (<World*>world).far.rx_next


cdef uint32_t world_resume_id(void* world) noexcept nogil:
    cdef World* self = <World*>world
    cdef Session* session = session_find(&self.worker.shard, SESSION)
    return 0 if session == NULL else session.flows[0].resume_id


cdef void world_settle(void* world) noexcept nogil:
    epoch_confirm(&(<World*>world).far.tx)


cdef void world_dishonest(void* world) noexcept nogil:
    (<World*>world).honest = False
