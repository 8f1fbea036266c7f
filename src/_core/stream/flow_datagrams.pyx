from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.base.buf cimport Buf, buf_data
from pcgrelay._core.base.result cimport (
    RESULT_BUDGET, RESULT_MIX_OVERDUE, RESULT_NOT_CONFIRMED, RESULT_OK, RESULT_STALE, Result,
)
from pcgrelay._core.base.wire cimport FRAME_DATAGRAMS, WIRE_PREFIX
from pcgrelay._core.crypto.aead cimport Aead
from pcgrelay._core.crypto.epoch cimport epoch_bears_datagrams, epoch_datagrams, epoch_spares, epoch_spend
from pcgrelay._core.crypto.replay cimport replay_check, replay_take
from pcgrelay._core.frame.frame cimport Frame, Scope, body_open, body_seal
from pcgrelay._core.stream.flow cimport FLOW_NUMBER_MAX, Flow, flow_mix_is_overdue


cdef bint flow_bears_datagrams(const Flow* self, uint64_t now_us) noexcept nogil:
    return epoch_bears_datagrams(&self.tx, self.tx.control_number) and self.tx_datagrams < FLOW_NUMBER_MAX \
        and epoch_spares(&self.tx, now_us)


cdef bint flow_prepare_datagrams(Flow* self, uint64_t now_us) noexcept nogil:
    return flow_bears_datagrams(self, now_us) \
        and epoch_datagrams(&self.tx, self.tx.control_number, self.tx_datagrams) != NULL


cdef Result flow_seal_datagrams(Flow* self, Buf* buf, uint32_t length, uint64_t now_us) noexcept nogil:
    cdef Scope scope
    cdef Aead* key = epoch_datagrams(&self.tx, self.tx.control_number, self.tx_datagrams)
    cdef Result answer
    if key == NULL or not flow_bears_datagrams(self, now_us):
        return RESULT_BUDGET
    answer = epoch_spend(&self.tx, WIRE_PREFIX + length, now_us, False)
    if answer != RESULT_OK:
        return answer
    buf.number = self.tx_datagrams
    buf.frame_epoch = self.tx.control_number & 0xff
    buf.frame_type = FRAME_DATAGRAMS
    buf.length = WIRE_PREFIX + length
    self.tx_datagrams += 1
    self.sent_bytes += buf.length
    scope.direction = self.tx.direction
    scope.index = self.index
    scope.epoch = self.tx.control_number
    return body_seal(key, &scope, FRAME_DATAGRAMS, buf.number, buf_data(buf), length)


cdef Result flow_open_datagrams(Flow* self, const Frame* frame, uint8_t* wire, uint64_t now_us) noexcept nogil:
    cdef Scope scope
    cdef Aead* key
    cdef Result answer
    if self.rx_next == 0:
        return RESULT_NOT_CONFIRMED
    answer = replay_check(&self.rx_datagrams, frame.number)
    if answer != RESULT_OK:
        return answer
    scope.direction = self.rx.direction
    scope.index = self.index
    scope.epoch = self.rx.number
    if frame.epoch != scope.epoch & 0xff:
        # A sender that is up hears of the step's arrival far sooner. Who stole the keys before it must not speak on.
        scope.epoch -= 1
        if now_us - self.rx_stepped_us > FLOW_FORMER_US:
            return RESULT_STALE
    if frame.epoch != scope.epoch & 0xff:
        # Overtaken by two steps: nobody has its key any more.
        return RESULT_STALE
    key = epoch_datagrams(&self.rx, scope.epoch, 0)
    if key == NULL:
        return RESULT_STALE
    answer = body_open(key, &scope, FRAME_DATAGRAMS, frame.number, wire, frame.length)
    if answer != RESULT_OK:
        return answer
    if self.owed.since_us != 0 and flow_mix_is_overdue(self, now_us):
        return RESULT_MIX_OVERDUE
    replay_take(&self.rx_datagrams, frame.number)
    self.received_bytes += WIRE_PREFIX + frame.length
    return RESULT_OK
