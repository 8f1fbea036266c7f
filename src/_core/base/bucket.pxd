# A token bucket (GCRA): at_once tokens at once, then one each each_us. It is stored as a time and needs no refilling.
from libc.stdint cimport uint64_t

# When the bucket will be full again, in microseconds; 0: it is full.
ctypedef uint64_t Bucket


# Whether a token is left.
cdef inline bint bucket_has(Bucket until_us, uint64_t now_us, uint64_t at_once, uint64_t each_us) noexcept nogil:
    return until_us <= now_us + (at_once - 1) * each_us

cdef inline void bucket_spend(Bucket* until_us, uint64_t now_us, uint64_t each_us) noexcept nogil:
    until_us[0] = (until_us[0] if until_us[0] > now_us else now_us) + each_us

# Spend a token, if one is left.
cdef inline bint bucket_take(Bucket* until_us, uint64_t now_us, uint64_t at_once, uint64_t each_us) noexcept nogil:
    if not bucket_has(until_us[0], now_us, at_once, each_us):
        return False
    bucket_spend(until_us, now_us, each_us)
    return True
