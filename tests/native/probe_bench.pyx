"""Loops inside the core, for benches only: what Python would add to each call is not what they measure.

Frames are a ring of frames in memory, sealed and opened by the core, or by EVP alone for comparison. `carry` moves
bundles from one edge to another over a relay or none, with neither socket nor clock.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from pcgrelay._core.crypto.aead cimport Aead, aead_load, aead_open, aead_seal, aead_start, aead_wipe
from pcgrelay._core.session.timers cimport session_acks
from pcgrelay._core.base.buf cimport Buf, buf_data, buf_alloc
from pcgrelay._core.stream.flow cimport Flow, flow_has_room
from pcgrelay._core.frame.frame cimport (
    Frame, Scope, body_open, body_seal, frame_open, frame_pack, frame_seal, frame_is_lane,
)
from pcgrelay._core.link.lane cimport lane_next, lane_rx
from pcgrelay._core.base.libcrypto cimport (
    crypto_bind, EVP_CIPHER, EVP_CIPHER_CTX, EVP_CIPHER_CTX_ctrl, EVP_CIPHER_CTX_free, EVP_CIPHER_CTX_new,
    EVP_CIPHER_fetch, EVP_CIPHER_free, EVP_CipherFinal_ex, EVP_CipherInit_ex2, EVP_CipherUpdate, EVP_CTRL_AEAD_GET_TAG,
    EVP_CTRL_AEAD_SET_TAG,
)
from pcgrelay._core.link.link cimport link_find
from pcgrelay._core.link.shard cimport LANE_WIRE, Lane, Shard
from tests.native.probe_link cimport Node
from pcgrelay._core.base.queue cimport iovec, queue_sent, queue_vectors
from pcgrelay._core.frame.record cimport Record, record_check, record_head, record_read
from pcgrelay._core.link.relay cimport relay_frame
from pcgrelay._core.base.result cimport RESULT_BAD_TAG, RESULT_CRYPTO, RESULT_NO_MEMORY, RESULT_OK, Result
from pcgrelay._core.link.lane_send cimport lane_fill
from pcgrelay._core.session.session cimport Session, session_bundle, session_find, session_frame
from pcgrelay._core.base.wire cimport (
    FRAME_BUNDLE, RECORD_DATA, SUITE_AES_128_GCM, SUITE_AES_256_GCM, WIRE_AAD, WIRE_BODY_MAX, WIRE_PREFIX,
    WIRE_RECORD, WIRE_TAG, wire_put64,
)

from tests.native.probe import Refusal

crypto_bind()

cdef enum:
    VECTORS = 64
    SPACE = LANE_WIRE + WIRE_BODY_MAX + WIRE_PREFIX

if aead_load() != RESULT_OK:
    raise ImportError("libcrypto has no AEAD that this core needs")


cdef int check(Result answer) except -1:
    if answer != RESULT_OK:
        raise Refusal(<int>answer)
    return 0


# -- AEAD and frames --------------------------------------------------------------------------------------------------

cdef class Frames:
    """A ring of `count` frames with bodies of `size` bytes. Open only what the same kind of call sealed before."""

    cdef Aead body_tx, body_rx, head_tx, head_rx
    cdef EVP_CIPHER_CTX* bare_tx
    cdef EVP_CIPHER_CTX* bare_rx
    cdef uint8_t* ring
    cdef uint32_t size, count, stride, suite
    cdef uint64_t sealed        # the number of the first frame of the last round

    def __cinit__(self, suite: int, size: int, count: int) -> None:
        cdef uint8_t key[32]
        cdef uint8_t iv[12]
        if not 0 < size <= WIRE_BODY_MAX or count < 1:
            raise ValueError("a body has 1 to 65,536 bytes, a ring at least one frame")
        memset(key, 0x5a, 32)
        memset(iv, 0xa5, 12)
        self.suite, self.size, self.count = suite, size, count
        # Frames begin on a cache line, as buffers of the core do.
        self.stride = (WIRE_PREFIX + self.size + 63) & ~63
        self.ring = <uint8_t*>malloc(<size_t>self.stride * self.count)
        if self.ring == NULL:
            raise MemoryError
        memset(self.ring, 0x42, <size_t>self.stride * self.count)
        check(aead_start(&self.body_tx, suite, key, iv, True))
        check(aead_start(&self.body_rx, suite, key, iv, False))
        check(aead_start(&self.head_tx, suite, key, iv, True))
        check(aead_start(&self.head_rx, suite, key, iv, False))
        self.bare_tx = bare_context(suite, key, iv, True)
        self.bare_rx = bare_context(suite, key, iv, False)
        if self.bare_tx == NULL or self.bare_rx == NULL:
            raise MemoryError

    def __dealloc__(self):
        aead_wipe(&self.body_tx)
        aead_wipe(&self.body_rx)
        aead_wipe(&self.head_tx)
        aead_wipe(&self.head_rx)
        EVP_CIPHER_CTX_free(self.bare_tx)
        EVP_CIPHER_CTX_free(self.bare_rx)
        free(self.ring)

    def seal_bare(self) -> None:
        """EVP alone, its context and key kept: the bodies."""
        self.sealed += self.count
        with nogil:
            answer = self.run_bare(True)
        check(answer)

    def open_bare(self) -> None:
        with nogil:
            answer = self.run_bare(False)
        check(answer)

    def seal_body(self) -> None:
        """The bodies through the core's AEAD."""
        self.sealed += self.count
        with nogil:
            answer = self.run_bodies(True)
        check(answer)

    def open_body(self) -> None:
        with nogil:
            answer = self.run_bodies(False)
        check(answer)

    def seal(self) -> None:
        """Whole frames: body and header."""
        self.sealed += self.count
        with nogil:
            answer = self.run_frames(True)
        check(answer)

    def open(self) -> None:
        with nogil:
            answer = self.run_frames(False)
        check(answer)

    cdef Result run_bare(self, bint sealing) noexcept nogil:
        cdef uint8_t aad[WIRE_AAD]
        cdef uint8_t nonce[12]
        cdef uint8_t rest[16]
        cdef uint8_t* p
        cdef int done = 0
        cdef uint32_t i
        cdef EVP_CIPHER_CTX* ctx = self.bare_tx if sealing else self.bare_rx
        memset(aad, 0, WIRE_AAD)
        memset(nonce, 0, 12)
        for i in range(self.count):
            p = self.ring + <size_t>i * self.stride
            wire_put64(nonce + 4, self.sealed + i)
            if EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL) != 1 \
                    or EVP_CipherUpdate(ctx, NULL, &done, aad, WIRE_AAD) != 1 \
                    or EVP_CipherUpdate(ctx, p + WIRE_PREFIX, &done, p + WIRE_PREFIX, <int>self.size) != 1:
                return RESULT_CRYPTO
            if not sealing and EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, WIRE_TAG, p) != 1:
                return RESULT_CRYPTO
            if EVP_CipherFinal_ex(ctx, rest, &done) != 1:
                return RESULT_BAD_TAG
            if sealing and EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, WIRE_TAG, p) != 1:
                return RESULT_CRYPTO
        return RESULT_OK

    cdef Result run_bodies(self, bint sealing) noexcept nogil:
        cdef uint8_t aad[WIRE_AAD]
        cdef uint8_t* p
        cdef uint32_t i
        cdef Result answer = RESULT_OK
        memset(aad, 0, WIRE_AAD)
        for i in range(self.count):
            p = self.ring + <size_t>i * self.stride
            if sealing:
                answer = aead_seal(&self.body_tx, self.sealed + i, aad, WIRE_AAD, p + WIRE_PREFIX, self.size, p)
            else:
                answer = aead_open(&self.body_rx, self.sealed + i, aad, WIRE_AAD, p + WIRE_PREFIX, self.size, p)
            if answer != RESULT_OK:
                break
        return answer

    cdef Result run_frames(self, bint sealing) noexcept nogil:
        cdef Scope scope
        cdef Frame frame
        cdef uint64_t number
        cdef uint8_t* p
        cdef uint32_t i
        cdef Result answer = RESULT_OK
        scope.direction = 0
        scope.index = 0
        scope.epoch = 0
        for i in range(self.count):
            p = self.ring + <size_t>i * self.stride
            number = self.sealed + i
            if sealing:
                frame.length = self.size
                frame.type = FRAME_BUNDLE
                frame.flow = 1
                frame.epoch = 0
                frame.number = number
                frame_pack(&frame, p)
                answer = body_seal(&self.body_tx, &scope, FRAME_BUNDLE, number, p, self.size)
                if answer == RESULT_OK:
                    answer = frame_seal(&self.head_tx, number, p)
            else:
                answer = frame_open(&self.head_rx, number, p, &frame)
                if answer == RESULT_OK:
                    answer = body_open(&self.body_rx, &scope, frame.type, frame.number, p, frame.length)
            if answer != RESULT_OK:
                break
        return answer


cdef EVP_CIPHER_CTX* bare_context(uint32_t suite, const uint8_t* key, const uint8_t* iv, bint sealing) noexcept nogil:
    cdef const char* name = b"ChaCha20-Poly1305"
    cdef EVP_CIPHER_CTX* ctx = EVP_CIPHER_CTX_new()
    cdef EVP_CIPHER* cipher
    if suite == SUITE_AES_256_GCM:
        name = b"AES-256-GCM"
    elif suite == SUITE_AES_128_GCM:
        name = b"AES-128-GCM"
    cipher = EVP_CIPHER_fetch(NULL, name, NULL)
    if cipher == NULL or ctx == NULL or EVP_CipherInit_ex2(ctx, cipher, key, iv, 1 if sealing else 0, NULL) != 1:
        EVP_CIPHER_CTX_free(ctx)
        ctx = NULL
    # The context holds its own reference.
    EVP_CIPHER_free(cipher)
    return ctx


# -- edges and a relay ------------------------------------------------------------------------------------------------

# What a chain in memory is while bundles move; spaces stand for the receive spaces of the nodes.
cdef struct Way:
    Shard* near
    Shard* relay                # or NULL
    Shard* far
    Lane* near_lane
    Lane* relay_near
    Lane* relay_far
    Lane* far_lane
    Flow* flow
    uint8_t* space
    uint8_t* relay_space
    uint64_t frames             # that arrived
    uint64_t octets


def carry(Node near, Node relay, Node far, *, session: int, links: list[int], size: int, frames: int) -> int:
    """Send frames with one DATA record of `size` bytes each; answer how many bytes of data arrived.

    relay: or None. links: that of near, and with a relay that of far. Lanes and session are up.
    """
    cdef Way way
    cdef Session* found = session_find(near.shard, session)
    cdef uint64_t wanted = frames
    cdef uint32_t octets = size
    cdef Result answer
    if found == NULL or not 0 < size <= WIRE_BODY_MAX - WIRE_RECORD:
        raise ValueError("there is no such session, or the record does not fit")
    memset(&way, 0, sizeof(Way))
    way.near, way.far, way.flow = near.shard, far.shard, found.flows[0]
    way.near_lane = lane_of(near, links[0])
    way.far_lane = lane_of(far, links[len(links) - 1])
    if relay is not None:
        way.relay = relay.shard
        way.relay_near, way.relay_far = lane_of(relay, links[0]), lane_of(relay, links[1])
    way.space = <uint8_t*>malloc(2 * SPACE)
    if way.space == NULL:
        raise MemoryError
    way.relay_space = way.space + SPACE
    with nogil:
        answer = way_carry(&way, octets, wanted)
    free(way.space)
    check(answer)
    return way.octets


cdef Lane* lane_of(Node node, link: int) except NULL:
    cdef Lane* lane = link_find(node.shard, link).lanes[0]
    if lane == NULL:
        raise ValueError(f"link {link} has no lane")
    return lane


cdef Result way_carry(Way* way, uint32_t size, uint64_t wanted) noexcept nogil:
    cdef uint64_t sent = 0, batch
    cdef Result reason = RESULT_OK
    cdef Session* failed
    cdef Result answer = RESULT_OK
    while way.frames < wanted and answer == RESULT_OK:
        # A turn takes some time, or acknowledgements would never be due.
        way.near.now_us += 100
        way.far.now_us = way.near.now_us
        if way.relay != NULL:
            way.relay.now_us = way.near.now_us
        batch = 0
        while sent < wanted and batch < LANE_WIRE and flow_has_room(way.flow, 1) and answer == RESULT_OK:
            answer = way_bundle(way, size)
            batch += size + WIRE_PREFIX
            sent += 1
        if answer == RESULT_OK:
            answer = way_move(way, True)
        failed = NULL
        session_acks(way.far, &failed, &reason)
        if failed != NULL:
            return reason
        if answer == RESULT_OK:
            answer = way_move(way, False)
    return answer


cdef Result way_bundle(Way* way, uint32_t size) noexcept nogil:
    cdef Buf* buf = buf_alloc(&way.near.pool, WIRE_PREFIX + WIRE_RECORD + size, False)
    if buf == NULL:
        return RESULT_NO_MEMORY
    record_head(buf_data(buf) + WIRE_PREFIX, 1, RECORD_DATA, size)
    return session_bundle(way.near, way.flow, buf, WIRE_RECORD + size)


# Everything that waits on one side goes to the other.
cdef Result way_move(Way* way, bint outward) noexcept nogil:
    cdef Lane* first = way.near_lane if outward else way.far_lane
    cdef Lane* last = way.far_lane if outward else way.near_lane
    cdef Shard* start = way.near if outward else way.far
    cdef Shard* end = way.far if outward else way.near
    cdef Lane* entry = way.relay_near if outward else way.relay_far
    cdef Lane* leave = way.relay_far if outward else way.relay_near
    cdef uint64_t n
    cdef Result answer = RESULT_OK
    while answer == RESULT_OK:
        answer = lane_drain(start, first, way.relay_space if way.relay != NULL else way.space, &n)
        if answer != RESULT_OK or n == 0:
            return answer
        if way.relay != NULL:
            answer = way_feed(way, way.relay, entry, way.relay_space, n)
            # The relay's frames lie in its space until they have left.
            while answer == RESULT_OK:
                answer = lane_drain(way.relay, leave, way.space, &n)
                if answer != RESULT_OK or n == 0:
                    break
                answer = way_feed(way, end, last, way.space, n)
        else:
            answer = way_feed(way, end, last, way.space, n)
    return answer


# What the worker does with sendmsg: the copy stands for the one that the kernel would make.
cdef Result lane_drain(Shard* shard, Lane* lane, uint8_t* out, uint64_t* n) noexcept nogil:
    cdef iovec vectors[VECTORS]
    cdef uint32_t count, i
    cdef uint64_t copied
    cdef Result answer = lane_fill(shard, lane)
    n[0] = 0
    while answer == RESULT_OK and lane.wire.count != 0:
        count = queue_vectors(&lane.wire, vectors, VECTORS)
        copied = 0
        for i in range(count):
            memcpy(out + n[0] + copied, vectors[i].iov_base, vectors[i].iov_len)
            copied += vectors[i].iov_len
        queue_sent(&lane.wire, &shard.pool, copied)
        n[0] += copied
    return answer


cdef Result way_feed(Way* way, Shard* shard, Lane* lane, uint8_t* p, uint64_t n) noexcept nogil:
    cdef Frame frame
    cdef Flow* flow = NULL
    cdef uint32_t code = 0
    cdef uint64_t used = 0
    cdef Result answer = RESULT_OK
    while n != 0 and answer == RESULT_OK:
        answer = lane_next(shard, lane, p, n, False, &frame, &used)
        if answer != RESULT_OK:
            return answer
        if frame_is_lane(frame.type):
            answer = lane_rx(shard, lane, &frame, p)
        elif shard == way.relay:
            answer = relay_frame(shard, lane, &frame, p, NULL)
        else:
            answer = session_frame(shard, lane, &frame, p, &flow, &code)
            if answer == RESULT_OK and frame.type == FRAME_BUNDLE:
                answer = way_take(way, p + WIRE_PREFIX, frame.length)
        p += used
        n -= used
    return answer


cdef Result way_take(Way* way, const uint8_t* body, uint32_t length) noexcept nogil:
    cdef Record record
    cdef uint32_t used = 0
    cdef Result answer = record_check(body, length, False)
    while length != 0 and answer == RESULT_OK:
        answer = record_read(body, length, &record, &used)
        way.octets += record.length
        body += used
        length -= used
    way.frames += 1
    return answer
