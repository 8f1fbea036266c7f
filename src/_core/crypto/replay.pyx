from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.base.result cimport RESULT_OK, RESULT_REPLAYED, RESULT_STALE, Result


cdef inline uint32_t word_of(uint64_t number) noexcept nogil:
    return <uint32_t>(number / 64 % REPLAY_WORDS)


cdef inline uint64_t bit_of(uint64_t number) noexcept nogil:
    return <uint64_t>1 << (number % 64)


cdef Result replay_check(const Replay* self, uint64_t number) noexcept nogil:
    if number >= self.next:
        return RESULT_OK
    if self.next - number > REPLAY_WINDOW:
        return RESULT_STALE
    return RESULT_REPLAYED if self.bits[word_of(number)] & bit_of(number) else RESULT_OK


cdef void replay_take(Replay* self, uint64_t number) noexcept nogil:
    cdef uint64_t word
    cdef uint64_t last = number / 64
    if number >= self.next:
        # From behind the word of the greatest number so far to that of the new one: at most the whole ring.
        word = (self.next + 63) / 64
        if last >= word + REPLAY_WORDS:
            word = last - REPLAY_WORDS + 1
        while word <= last:
            self.bits[word % REPLAY_WORDS] = 0
            word += 1
        self.next = number + 1
    self.bits[word_of(number)] |= bit_of(number)


cdef void replay_close(Replay* self) noexcept nogil:
    cdef uint32_t i
    for i in range(REPLAY_WORDS):
        self.bits[i] = <uint64_t>-1
    # Numbers of the last word that were not reached yet are free.
    self.bits[word_of(self.next)] = bit_of(self.next) - 1
