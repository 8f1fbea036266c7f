from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from pcgrelay._core.crypto.aead cimport Aead
from pcgrelay._core.base.bucket cimport bucket_take
from pcgrelay._core.base.buf cimport BUF_HEAD, BUF_LARGEST, Buf, Pool, buf_data, buf_drop, buf_alloc
from pcgrelay._core.crypto.epoch cimport (
    Epoch, Limits, epoch_must_rekey, epoch_confirm, epoch_spend, epoch_start, epoch_step, epoch_wipe,
)
from pcgrelay._core.frame.frame cimport Frame, Scope, body_open, body_seal, frame_is_numbered, frame_pack
from pcgrelay._core.base.libcrypto cimport crypto_bind, CRYPTO_memcmp, OPENSSL_cleanse
from pcgrelay._core.base.map cimport map_free
from pcgrelay._core.base.organisation cimport holding_bytes, holding_is_greedy
from pcgrelay._core.frame.pace cimport pace_acknowledged, pace_forget, pace_limit, pace_round
from pcgrelay._core.crypto.renewal cimport (
    owed_begin, owed_is_over, owed_step, renewals_agree, renewals_fresh, renewals_mix, renewals_wait,
)
from pcgrelay._core.base.result cimport (
    RESULT_BAD_CONFIRM, RESULT_BAD_EPOCH, RESULT_BAD_FIELD, RESULT_BAD_NUMBER, RESULT_DUPLICATE, RESULT_GAP,
    RESULT_GLITCHES, RESULT_KEY_LIMIT, RESULT_MIX_OVERDUE, RESULT_NO_MEMORY, RESULT_NOT_CONFIRMED, RESULT_OK,
    RESULT_TOO_MANY_RESUMES, RESULT_UNKNOWN_MIX, Result,
)
from pcgrelay._core.base.wire cimport (
    FRAME_ACK, FRAME_FLOW_CLOSE, FRAME_FLOW_CONFIRM, FRAME_FLOW_REKEY, FRAME_RESUME,
    PURPOSE_FLOW_DATA, WIRE_PREFIX, WIRE_VERSION, wire_get16, wire_get32, wire_get64, wire_put16, wire_put32,
    wire_put64,
)

crypto_bind()

cdef enum:
    CONFIRM_LENGTH = 40
    REKEY_LENGTH = 12
    FLOW_CAPS = 4               # caps that an organisation may always hold, whatever others hold
    REKEY_HELD = BUF_HEAD + 256     # memory of a buffer for it


cdef Result flow_start(Flow* self, uint16_t index, const uint8_t* secret, uint32_t suite, bint initiator,
                       const uint8_t* binding, uint64_t cap) noexcept nogil:
    cdef Result answer
    memset(self, 0, sizeof(Flow))
    self.index = index
    self.initiator = initiator
    self.cap = cap
    self.peer_ack_bytes = FLOW_PEER_ACK_BYTES
    self.tx_highest = 1 if initiator else 2
    self.answered = True
    memcpy(self.binding, binding, 32)
    answer = epoch_start(&self.tx, secret, 0 if initiator else 1, suite, PURPOSE_FLOW_DATA, True)
    if answer == RESULT_OK:
        answer = epoch_start(&self.rx, secret, 1 if initiator else 0, suite, PURPOSE_FLOW_DATA, False)
    return answer


cdef void flow_stop(Flow* self, Pool* pool) noexcept nogil:
    self.state = FLOW_CLOSED
    epoch_wipe(&self.tx)
    epoch_wipe(&self.rx)
    while self.retained != NULL:
        flow_release(self, pool)
    map_free(&self.streams)


cdef inline void flow_release(Flow* self, Pool* pool) noexcept nogil:
    cdef Buf* buf = self.retained
    self.retained = buf.next
    if self.retained == NULL:
        self.retained_last = NULL
    self.retained_bytes -= buf.length
    self.retained_held -= BUF_HEAD + buf.capacity
    if self.holding != NULL:
        self.holding.retained -= BUF_HEAD + buf.capacity
    buf.next = NULL
    buf_drop(pool, buf)


# -- sending ----------------------------------------------------------------------------------------------------------

cdef bint flow_has_room(const Flow* self, uint32_t bundles) noexcept nogil:
    # A bundle may be as large as a frame can be, and a key step may have to come first. A frame, above all a small one,
    # may lie in a much larger buffer: so the memory is limited too.
    return self.state == FLOW_UP \
        and self.retained_bytes + bundles * <uint64_t>BUF_LARGEST + WIRE_PREFIX + REKEY_LENGTH <= self.cap \
        and self.retained_held + bundles * <uint64_t>(BUF_HEAD + BUF_LARGEST) + REKEY_HELD <= 2 * self.cap


cdef bint flow_bears_bulk(const Flow* self, uint64_t now_us) noexcept nogil:
    return self.retained_bytes < pace_limit(&self.pace, self.peer_ack_bytes, FLOW_ACK_US, now_us)


cdef inline bint is_greedy(const Flow* self, const Pool* pool, uint64_t bytes) noexcept nogil:
    cdef uint64_t floor = FLOW_CAPS * self.cap
    # In a small pool four caps may be all the memory.
    return holding_is_greedy(bytes, pool.used, pool.limit, floor if floor < pool.limit / 8 else pool.limit / 8)


cdef bint flow_is_greedy_now(const Flow* self, const Pool* pool) noexcept nogil:
    return self.holding != NULL and is_greedy(self, pool, holding_bytes(self.holding))


# Only retained bytes count: slow applications here must not delay the answers of others.
cdef bint flow_bears_reads_now(const Flow* self, const Pool* pool, uint64_t now_us) noexcept nogil:
    return (self.holding == NULL or not is_greedy(self, pool, self.holding.retained)) \
        and self.retained_bytes < 2 * pace_limit(&self.pace, self.peer_ack_bytes, FLOW_ACK_US, now_us)


cdef void flow_retain(Flow* self, Buf* buf, uint64_t now_us) noexcept nogil:
    buf.next = NULL
    if self.retained_last == NULL:
        self.retained = buf
        self.progress_us = now_us
    else:
        self.retained_last.next = buf
    self.retained_last = buf
    self.retained_bytes += buf.length
    self.retained_held += BUF_HEAD + buf.capacity
    if self.holding != NULL:
        self.holding.retained += BUF_HEAD + buf.capacity


cdef Result flow_seal(Flow* self, Pool* pool, uint32_t type, Buf* buf, uint32_t length,
                      uint64_t now_us) noexcept nogil:
    cdef Scope scope
    cdef Result answer
    buf.number = self.tx_next
    buf.frame_epoch = self.tx.number & 0xff
    buf.frame_type = type
    buf.length = WIRE_PREFIX + length
    flow_retain(self, buf, now_us)
    self.sent_bytes += buf.length
    self.tx_next += 1
    if buf.number >= FLOW_NUMBER_MAX:
        return RESULT_KEY_LIMIT
    # The step itself is sealed at any age, so that an idle flow survives.
    answer = epoch_spend(&self.tx, buf.length, now_us, type == FRAME_FLOW_REKEY)
    if answer != RESULT_OK:
        return answer
    if self.timed_us == 0:
        self.timed_us = now_us
        self.timed_number = buf.number
    scope.direction = self.tx.direction
    scope.index = self.index
    scope.epoch = self.tx.number
    return body_seal(&self.tx.data, &scope, type, buf.number, buf_data(buf), length)


cdef Result flow_confirm(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil:
    cdef Buf* buf = buf_alloc(pool, WIRE_PREFIX + CONFIRM_LENGTH, True)
    cdef uint8_t* body
    if buf == NULL:
        return RESULT_NO_MEMORY
    body = buf_data(buf) + WIRE_PREFIX
    wire_put16(body, WIRE_VERSION)
    wire_put16(body + 2, self.index)
    wire_put32(body + 4, 0)
    memcpy(body + 8, self.binding, 32)
    self.confirmed_tx = True
    out[0] = buf
    return flow_seal(self, pool, FRAME_FLOW_CONFIRM, buf, CONFIRM_LENGTH, now_us)


cdef inline uint64_t flow_fresh_mix(const Flow* self) noexcept nogil:
    return 0 if self.renewals == NULL else renewals_fresh(self.renewals, self.tx_mix)


cdef bint flow_must_rekey(const Flow* self, const Limits* limits, uint64_t now_us) noexcept nogil:
    return self.state == FLOW_UP and not self.rekey_waits \
        and (flow_fresh_mix(self) != 0
             or (epoch_must_rekey(&self.tx, limits, now_us)
                 and (self.renewals == NULL or not renewals_wait(self.renewals, now_us)))) \
        and self.retained_bytes + WIRE_PREFIX + REKEY_LENGTH <= self.cap


cdef Result flow_rekey(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil:
    cdef Buf* buf = buf_alloc(pool, WIRE_PREFIX + REKEY_LENGTH, True)
    cdef uint8_t* body
    cdef uint64_t id = flow_fresh_mix(self)
    cdef Result answer
    if buf == NULL:
        return RESULT_NO_MEMORY
    body = buf_data(buf) + WIRE_PREFIX
    wire_put32(body, self.tx.number + 1)
    wire_put64(body + 4, id)
    out[0] = buf
    answer = flow_seal(self, pool, FRAME_FLOW_REKEY, buf, REKEY_LENGTH, now_us)
    if answer != RESULT_OK:
        return answer
    self.rekey_waits = True
    self.rekey_number = buf.number
    if id != 0:
        self.tx_mix = id
    return flow_step(self, &self.tx, id)


cdef Result flow_step(Flow* self, Epoch* epoch, uint64_t id) noexcept nogil:
    cdef uint8_t mix[32]
    cdef Result answer
    if id == 0:
        return epoch_step(epoch, NULL)
    if self.renewals == NULL:
        return RESULT_UNKNOWN_MIX
    answer = renewals_mix(self.renewals, id, epoch.direction, self.index, mix)
    if answer == RESULT_OK:
        answer = epoch_step(epoch, mix)
    OPENSSL_cleanse(mix, sizeof(mix))
    return answer


cdef Result flow_volatile(Flow* self, Pool* pool, uint32_t type, const uint8_t* body, uint32_t length,
                          Buf** out) noexcept nogil:
    cdef Scope scope
    cdef Buf* buf
    # The frame that reports that a limit is reached must still be sealed.
    if epoch_spend(&self.tx, WIRE_PREFIX + length, 0, True) != RESULT_OK and type != FRAME_FLOW_CLOSE:
        return RESULT_KEY_LIMIT
    buf = buf_alloc(pool, WIRE_PREFIX + length, True)
    if buf == NULL:
        return RESULT_NO_MEMORY
    memcpy(buf_data(buf) + WIRE_PREFIX, body, length)
    buf.number = self.tx_control
    buf.frame_epoch = self.tx.control_number & 0xff
    buf.frame_type = type
    buf.length = WIRE_PREFIX + length
    self.tx_control += 1
    scope.direction = self.tx.direction
    scope.index = self.index
    scope.epoch = self.tx.control_number
    out[0] = buf
    return body_seal(&self.tx.control, &scope, type, buf.number, buf_data(buf), length)


cdef Result flow_ack(Flow* self, Pool* pool, Buf** out) noexcept nogil:
    cdef uint8_t body[8]
    wire_put64(body, self.rx_next)
    self.rx_told = self.rx_next
    self.ack_due_us = 0
    self.ack_bytes = 0
    self.ack_frames = 0
    return flow_volatile(self, pool, FRAME_ACK, body, 8, out)


cdef Result flow_resume(Flow* self, Pool* pool, uint64_t now_us, Buf** out) noexcept nogil:
    cdef uint8_t body[16]
    wire_put32(body, self.resume_id)
    wire_put32(body + 4, 0)
    wire_put64(body + 8, self.rx_next)
    self.rx_told = self.rx_next
    self.resume_sent_us = now_us
    return flow_volatile(self, pool, FRAME_RESUME, body, 16, out)


cdef void flow_header(const Buf* buf, uint32_t label, uint8_t* p) noexcept nogil:
    cdef Frame frame
    frame.length = buf.length - WIRE_PREFIX
    frame.type = buf.frame_type
    frame.flow = label
    frame.epoch = buf.frame_epoch
    frame.number = buf.number
    frame_pack(&frame, p)


# -- receiving --------------------------------------------------------------------------------------------------------

cdef Result flow_open(Flow* self, const Frame* frame, uint8_t* wire, uint64_t now_us) noexcept nogil:
    if frame_is_numbered(frame.type):
        return flow_open_numbered(self, frame, wire, now_us)
    return flow_open_volatile(self, frame, wire)


cdef Result flow_open_numbered(Flow* self, const Frame* frame, uint8_t* wire, uint64_t now_us) noexcept nogil:
    cdef Scope scope
    cdef Result answer
    if frame.number < self.rx_next:
        return RESULT_DUPLICATE
    if frame.number > self.rx_next:
        return RESULT_GAP
    if self.rx_next == 0 and frame.type != FRAME_FLOW_CONFIRM:
        return RESULT_NOT_CONFIRMED
    if frame.epoch != self.rx.number & 0xff:
        return RESULT_BAD_EPOCH
    scope.direction = self.rx.direction
    scope.index = self.index
    scope.epoch = self.rx.number
    answer = body_open(&self.rx.data, &scope, frame.type, frame.number, wire, frame.length)
    if answer != RESULT_OK:
        return answer
    if self.owed.since_us != 0 and frame.type != FRAME_FLOW_REKEY and flow_mix_is_overdue(self, now_us):
        return RESULT_MIX_OVERDUE
    self.rx_next += 1
    self.received_bytes += WIRE_PREFIX + frame.length
    self.ack_bytes += WIRE_PREFIX + frame.length
    self.ack_frames += 1
    if self.ack_bytes >= FLOW_ACK_BYTES or self.ack_frames >= FLOW_ACK_FRAMES:
        self.ack_due_us = now_us
    elif self.ack_due_us == 0:
        self.ack_due_us = now_us + FLOW_ACK_US
    return RESULT_OK


cdef void flow_agree(Flow* self, uint64_t now_us) noexcept nogil:
    owed_begin(&self.owed, self.renewals.agreed_id, False, now_us)


cdef bint flow_mix_is_overdue(const Flow* self, uint64_t now_us) noexcept nogil:
    if self.state == FLOW_STARTING:
        return False
    return owed_is_over(&self.owed, self.resuming_us if self.state == FLOW_RESUMING else now_us)


# Shift the start of a time that counts only while the flow is up by the pause that ends now. since_us may lie within
# the pause; 0: none.
cdef inline uint64_t flow_without_pause(const Flow* self, uint64_t since_us, uint64_t now_us) noexcept nogil:
    if since_us == 0:
        return 0
    return now_us if since_us > self.resuming_us else since_us + now_us - self.resuming_us


cdef Result flow_open_volatile(Flow* self, const Frame* frame, uint8_t* wire) noexcept nogil:
    cdef Scope scope
    cdef Aead* key = &self.rx.control
    cdef Result answer
    # Replays come from a node on the path and are not the far edge's fault.
    if frame.number < self.rx_control:
        return RESULT_DUPLICATE
    scope.direction = self.rx.direction
    scope.index = self.index
    scope.epoch = self.rx.number
    if frame.epoch != self.rx.number & 0xff:
        if self.rx.control_alt.ctx == NULL or frame.epoch != (self.rx.number - 1) & 0xff:
            return RESULT_BAD_EPOCH
        key = &self.rx.control_alt
        scope.epoch = self.rx.number - 1
    answer = body_open(key, &scope, frame.type, frame.number, wire, frame.length)
    if answer == RESULT_OK:
        self.rx_control = frame.number + 1
    return answer


cdef Result flow_rx_confirm(Flow* self, const uint8_t* body) noexcept nogil:
    if self.rx_next != 1 or wire_get16(body) != WIRE_VERSION or wire_get16(body + 2) != self.index \
            or wire_get32(body + 4) != 0 or CRYPTO_memcmp(body + 8, self.binding, 32) != 0:
        return RESULT_BAD_CONFIRM
    if self.state == FLOW_STARTING:
        self.state = FLOW_UP
        self.loss_told = 0
    return RESULT_OK


cdef Result flow_rx_rekey(Flow* self, const uint8_t* body, uint64_t now_us) noexcept nogil:
    cdef uint64_t id = wire_get64(body + 4)
    cdef uint64_t agreed_id = 0
    cdef Result answer
    # A key step costs as much as many frames, so none is accepted before the previous one was acknowledged.
    if wire_get32(body) != self.rx.number + 1 or self.rx_told < self.rx_step:
        return RESULT_BAD_EPOCH
    self.rx_step = self.rx_next
    self.rx_stepped_us = now_us
    if self.renewals != NULL:
        if self.initiator:
            # The responder names only what both have told: if its answer is missing, this is it.
            renewals_agree(self.renewals, id)
        agreed_id = self.renewals.agreed_id
    answer = owed_step(&self.owed, agreed_id, id, flow_far_knows(self), flow_mix_is_overdue(self, now_us), now_us)
    return answer if answer != RESULT_OK else flow_step(self, &self.rx, id)


cdef Result flow_rx_ack(Flow* self, Pool* pool, uint64_t next_number, uint64_t now_us) noexcept nogil:
    cdef uint64_t sample_us
    cdef uint64_t before = self.retained_bytes
    if next_number > self.tx_next:
        return RESULT_BAD_NUMBER
    if next_number <= self.tx_acked:
        return RESULT_OK
    self.tx_acked = next_number
    self.progress_us = now_us
    while self.retained != NULL and self.retained.number < next_number:
        flow_release(self, pool)
    pace_acknowledged(&self.pace, before - self.retained_bytes, now_us)
    if self.timed_us != 0 and next_number > self.timed_number:
        sample_us = now_us - self.timed_us
        # An eighth of the new sample, as in RFC 6298; here only windows depend on it.
        self.round_trip_us = sample_us if self.round_trip_us == 0 else (7 * self.round_trip_us + sample_us) / 8
        pace_round(&self.pace, sample_us, now_us)
        self.timed_us = 0
    if self.rekey_waits and next_number > self.rekey_number:
        self.rekey_waits = False
        self.tx_mix_acked = self.tx_mix
        epoch_confirm(&self.tx)
    return RESULT_OK


cdef Result flow_rx_resume(Flow* self, Pool* pool, const uint8_t* body, uint64_t now_us, bint* answer,
                           bint* again) noexcept nogil:
    cdef uint32_t id = wire_get32(body)
    cdef Result result
    answer[0] = False
    again[0] = False
    if wire_get32(body + 4) != 0:
        return RESULT_BAD_FIELD
    # It acknowledges with any id. A value below the last one was sent before an ACK that overtook it.
    result = flow_rx_ack(self, pool, wire_get64(body + 8), now_us)
    if result != RESULT_OK:
        return result
    if id < self.resume_id or (id == self.resume_id and (self.state != FLOW_RESUMING or self.answered)):
        return RESULT_OK
    if id > self.resume_id:
        result = flow_count_resume(self, now_us)
        if result != RESULT_OK:
            return result
        self.resume_id = id
        answer[0] = True
    again[0] = True
    # A frame that is sent again gives no valid sample of the round trip (Karn's algorithm).
    self.timed_us = 0
    self.unanswered = 0
    self.answered = True
    if self.state == FLOW_RESUMING:
        self.state = FLOW_UP if self.rx_next != 0 else FLOW_STARTING
        self.progress_us = now_us
        self.loss_told = 0
        # The age of an epoch does not include time in which nothing could be sealed.
        self.tx.since_us = flow_without_pause(self, self.tx.since_us, now_us)
        self.owed.since_us = flow_without_pause(self, self.owed.since_us, now_us)
    return RESULT_OK


cdef Result flow_count_resume(Flow* self, uint64_t now_us) noexcept nogil:
    if now_us - self.resumes_since_us > FLOW_RESUMES_US:
        self.resumes_since_us = now_us
        self.resumes = 0
    self.resumes += 1
    return RESULT_OK if self.resumes <= FLOW_RESUMES else RESULT_TOO_MANY_RESUMES


cdef void flow_pause(Flow* self, uint64_t now_us) noexcept nogil:
    if self.state != FLOW_RESUMING:
        self.resuming_us = now_us
    self.state = FLOW_RESUMING


cdef bint flow_loss_is_news(Flow* self, uint32_t label) noexcept nogil:
    if self.loss_told == label:
        return False
    self.loss_told = label
    return True


cdef Result flow_break(Flow* self, uint64_t now_us) noexcept nogil:
    cdef Result answer = flow_count_resume(self, now_us)
    flow_pause(self, now_us)
    pace_forget(&self.pace)
    self.resume_id += 1
    self.answered = False
    self.timed_us = 0
    return answer


cdef Result flow_late(Flow* self, uint64_t now_us) noexcept nogil:
    return RESULT_OK if bucket_take(&self.late_us, now_us, FLOW_LATE_BURST, FLOW_LATE_US) else RESULT_GLITCHES


# -- lists ------------------------------------------------------------------------------------------------------------
