# Part of fuzzface.pyx: one side of a UDP lane, and the neighbour that has its keys.

cdef enum:
    WAY_NUMBER = 5
    WAY_TOKEN = 0x01020304
    WAY_BUDGET = 4194304

cdef struct Way:
    Shard shard
    UdpSocket socket
    Link* link
    UdpLane* lane
    Epoch peer                  # what the neighbour seals with


cdef void* packets_start(uint32_t suite) noexcept nogil:
    cdef Way* self = <Way*>calloc(1, sizeof(Way))
    cdef uint8_t secret[32]
    cdef uint8_t address[16]
    once()
    memset(secret, 7, sizeof(secret))
    memset(address, 1, sizeof(address))
    pool_start(&self.shard.pool, WAY_BUDGET, 0)
    self.shard.workers = 1
    self.shard.now_us = self.shard.probe_us = QUIET / 1024
    self.link = link_add(&self.shard, 1, suite, True, 1, secret, gauge_new(1, 1))
    self.lane = udp_lane_start(&self.shard, self.link, &self.socket, 0, WAY_NUMBER, WAY_TOKEN, secret)
    if self.lane == NULL or epoch_start(&self.peer, secret, 1, suite, PURPOSE_HOP_HEADER, True) != RESULT_OK:
        broken(b"no UDP lane")
    udp_lane_begin(&self.shard, self.lane, 9, address, sizeof(address))
    packets_turn(self, 0)
    return self


# Seal a packet as the neighbour does; own: its body too, as that of a PROBE or REPORT. header: 16 bytes in clear, which
# may say anything. Answers its length; a number that was used before is sealed anew, with the same key and nonce.
cdef uint32_t packets_seal(void* way, uint64_t number, const uint8_t* header, const uint8_t* body, uint32_t n,
                           bint own, uint8_t* out) noexcept nogil:
    cdef Way* self = <Way*>way
    cdef Scope scope
    memset(&scope, 0, sizeof(scope))
    scope.direction = 1
    self.peer.data.floor = self.peer.control.floor = 0
    wire_put32(out, WAY_TOKEN)
    wire_put64(out + 4, number)
    memset(out + WIRE_UDP_HEAD, 0, WIRE_PREFIX)
    memcpy(out + WIRE_UDP_HEAD, header, 16)
    memcpy(out + WIRE_UDP_HEAD + WIRE_PREFIX, body, n)
    if own and body_seal(&self.peer.control, &scope, header[3], number, out + WIRE_UDP_HEAD, n) != RESULT_OK:
        broken(b"a body was not sealed")
    if packet_seal(&self.peer.data, number, out + WIRE_UDP_HEAD, n) != RESULT_OK:
        broken(b"a packet was not sealed")
    return WIRE_UDP_HEAD + WIRE_PREFIX + n


# Give it a packet, in the harness's own block. Answers whether it brought DATAGRAMS.
cdef bint packets_rx(void* way, uint8_t* p, uint32_t n) noexcept nogil:
    cdef Way* self = <Way*>way
    cdef Frame frame
    cdef uint8_t address[16]
    memset(address, 2, sizeof(address))
    if udp_lane_rx(&self.shard, p, n, address, sizeof(address), &frame) == NULL:
        return False
    if frame.type != FRAME_DATAGRAMS or frame.length + WIRE_PREFIX + WIRE_UDP_HEAD != n or frame.flow == 0:
        broken(b"no frame of datagrams was taken")
    return True


# What a packet may change: a digest of all but counts of what was refused.
cdef uint64_t packets_state(void* way) noexcept nogil:
    cdef UdpLane* lane = (<Way*>way).lane
    cdef uint64_t digest = lane.window.next * 31 + lane.taken_packets
    cdef uint32_t i
    for i in range(REPLAY_WORDS):
        digest = digest * 1000003 + lane.window.bits[i]
    for i in range(16):
        digest = digest * 1000003 + lane.peer[i]
    digest = digest * 1000003 + lane.tx_number
    digest = digest * 1000003 + lane.probes.state + 8 * lane.out_count
    return digest * 1000003 + (<Way*>way).shard.event_count


# Let so much time pass, and what waits leave: each packet as long as one may be.
cdef void packets_turn(void* way, uint32_t ms) noexcept nogil:
    cdef Way* self = <Way*>way
    cdef Buf* buf
    cdef uint32_t i
    self.shard.now_us += <uint64_t>ms * 1000
    if self.shard.now_us - self.lane.opened_us < UDP_HARD_US and self.lane.tx_number < UDP_HARD_PACKETS \
            and self.lane.window.next < UDP_HARD_PACKETS:
        udp_lane_ticks(&self.shard, 0)
    buf = self.lane.out_first
    while buf != NULL:
        for i in range(buf.number):
            if not PACKET_LEAST <= udp_lane_lengths(buf)[i] <= PACKET_MOST:
                broken(b"a packet of another length leaves")
        buf = buf.next
    udp_lane_drop_out(&self.shard, self.lane)
    self.shard.event_count = 0


cdef void packets_end(void* way) noexcept nogil:
    cdef Way* self = <Way*>way
    udp_lane_end_all(&self.shard, NULL, NULL, UDP_LINK)
    link_remove(&self.shard, self.link)
    if self.shard.pool.used != 0 or self.shard.udp_tokens.count != 0:
        broken(b"something of a UDP lane was left")
    map_free(&self.shard.links)
    map_free(&self.shard.udp_tokens)
    pool_stop(&self.shard.pool)
    epoch_wipe(&self.peer)
    free(self)
