from libc.stdint cimport uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport RESULT_BAD_FIELD, RESULT_OK, Result
from pcgrelay._core.base.tlv cimport Tlv, tlv_bytes, tlv_enter, tlv_fail, tlv_number, tlv_open, tlv_shut
from pcgrelay._core.crypto.epoch cimport Epoch, epoch_restore
from pcgrelay._core.crypto.renewal cimport Owed, Renewals
from pcgrelay._core.link.shard cimport Shard


cdef enum:
    EPOCH_SECRET = 1
    EPOCH_KEPT_KEY = 2
    EPOCH_KEPT_IV = 3
    EPOCH_KEEPS = 4
    EPOCH_FRAMES = 5
    EPOCH_BYTES = 6
    EPOCH_SINCE = 7
    EPOCH_NUMBER = 8
    EPOCH_SIDE_NUMBER = 9
    EPOCH_SUITE = 10
    EPOCH_PURPOSE = 11
    EPOCH_DIRECTION = 12
    EPOCH_SEALING = 13
    EPOCH_KEPT_DATAGRAM_KEY = 14
    EPOCH_KEPT_DATAGRAM_IV = 15
    EPOCH_DATAGRAMS_FROM = 16

cdef extern from *:
    """
    #define NOT_SAID 0xffffffffu
    """
    const uint32_t NOT_SAID


cdef void epoch_fields(Tlv* self, Epoch* epoch) noexcept nogil:
    tlv_bytes(self, EPOCH_SECRET, epoch.secret, 32)
    tlv_bytes(self, EPOCH_KEPT_KEY, epoch.previous_key, 32)
    tlv_bytes(self, EPOCH_KEPT_IV, epoch.previous_iv, 12)
    tlv_number(self, EPOCH_KEEPS, &epoch.has_previous, sizeof(epoch.has_previous))
    tlv_number(self, EPOCH_FRAMES, &epoch.frames, 8)
    tlv_number(self, EPOCH_BYTES, &epoch.bytes, 8)
    tlv_number(self, EPOCH_SINCE, &epoch.since_us, 8)
    tlv_number(self, EPOCH_NUMBER, &epoch.number, 4)
    tlv_number(self, EPOCH_SIDE_NUMBER, &epoch.control_number, 4)
    tlv_number(self, EPOCH_SUITE, &epoch.suite, 4)
    tlv_number(self, EPOCH_PURPOSE, &epoch.purpose, 4)
    tlv_number(self, EPOCH_DIRECTION, &epoch.direction, 1)
    tlv_number(self, EPOCH_SEALING, &epoch.sealing, sizeof(epoch.sealing))
    tlv_bytes(self, EPOCH_KEPT_DATAGRAM_KEY, epoch.previous_datagram_key, 32)
    tlv_bytes(self, EPOCH_KEPT_DATAGRAM_IV, epoch.previous_datagram_iv, 12)
    tlv_number(self, EPOCH_DATAGRAMS_FROM, &epoch.datagrams_from, 4)


cdef void epoch_write(Tlv* self, uint16_t tag, Epoch* epoch) noexcept nogil:
    cdef uint64_t mark = tlv_open(self, tag)
    epoch_fields(self, epoch)
    tlv_shut(self, mark)


cdef void epoch_read(Tlv* self, uint16_t tag, Shard* shard, Epoch* epoch, uint32_t purpose, bint sealing,
                     uint64_t floor, uint64_t control_floor) noexcept nogil:
    cdef Tlv inner
    cdef uint64_t at = 0
    cdef Result answer
    if not tlv_enter(self, tag, &at, &inner):
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    epoch.datagrams_from = NOT_SAID
    epoch_fields(&inner, epoch)
    if epoch.datagrams_from == NOT_SAID:
        # An older version knows nothing of datagrams. Whoever sealed some before it did so under this epoch at the
        # latest, and how many is not known: none of its numbers may be used again.
        epoch.datagrams_from = epoch.number + 1
    if inner.result != RESULT_OK or epoch.purpose != purpose or epoch.sealing != sealing:
        tlv_fail(self, RESULT_BAD_FIELD)
        return
    answer = epoch_restore(epoch, floor, control_floor)
    if answer != RESULT_OK:
        tlv_fail(self, answer)
    # As if the soft limit had been reached: a step comes first, where it need not wait (docs/protocol.md, 12.2).
    if sealing and epoch.frames < shard.limits.frames:
        epoch.frames = shard.limits.frames


cdef void renewals_fields(Tlv* self, uint16_t first, Renewals* renewals) noexcept nogil:
    tlv_bytes(self, first, renewals.newest, 32)
    tlv_bytes(self, first + 1, renewals.before, 32)
    tlv_number(self, first + 2, &renewals.newest_id, 8)
    tlv_number(self, first + 3, &renewals.before_id, 8)
    tlv_number(self, first + 4, &renewals.agreed_id, 8)
    tlv_number(self, first + 5, &renewals.waits_until_us, 8)


cdef void owed_fields(Tlv* self, uint16_t first, Owed* owed) noexcept nogil:
    tlv_number(self, first, &owed.mix, 8)
    tlv_number(self, first + 1, &owed.since_us, 8)
    tlv_number(self, first + 2, &owed.plain, sizeof(owed.plain))
