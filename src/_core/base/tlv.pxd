# The cursor that writes and reads the record of a hand-over (docs/decisions/0009).
#
# A record is a container: a sequence of items of u16 tag, u32 length and value, little-endian because it never leaves
# its machine. A value is a number, bytes, or a container. The same calls in the same order write a container and read
# it. A missing item leaves its variable unchanged, which is its default; an unknown item is skipped. So a version reads
# the record of the one before, as long as no tag is ever used for something else.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pcgrelay._core.base.result cimport Result


cdef enum:
    CURSOR_HEAD = 6
    CURSOR_DESCRIPTORS = 1048576

# Descriptors are passed beside the record; a field of the record is an index in this list.
cdef struct Descriptors:
    int* fds                    # owned list; while reading, -1 stands for one that was taken
    uint32_t count
    uint32_t room

cdef struct Tlv:
    uint8_t* p                  # the container; NULL while only its length is counted
    uint64_t n                  # its length when reading, the room when writing
    uint64_t at
    Descriptors* descriptors
    bint reading
    Result result               # the first failure; from then on nothing is written or read


# Write to the n bytes at p, or only count them if p is NULL.
cdef void tlv_write(Tlv* self, uint8_t* p, uint64_t n, Descriptors* descriptors) noexcept nogil

# Read the container of n bytes at p. RESULT_BAD_LENGTH in self.result: its items do not fill it exactly.
cdef void tlv_read(Tlv* self, uint8_t* p, uint64_t n, Descriptors* descriptors) noexcept nogil

# A number of 1, 2, 4 or 8 bytes at value. When reading, a wider number that does not fit is refused.
cdef void tlv_number(Tlv* self, uint16_t tag, void* value, uint32_t width) noexcept nogil

# n bytes. When reading, fewer leave the rest unchanged, and more are skipped.
cdef void tlv_bytes(Tlv* self, uint16_t tag, void* p, uint32_t n) noexcept nogil

# A descriptor, or -1. When reading it belongs to the caller from here on.
cdef void tlv_descriptor(Tlv* self, uint16_t tag, int* fd) noexcept nogil

# Write: begin an item whose value is written next, and end it. The second takes what the first returned.
cdef uint64_t tlv_open(Tlv* self, uint16_t tag) noexcept nogil
cdef void tlv_shut(Tlv* self, uint64_t mark) noexcept nogil
cdef void tlv_raw(Tlv* self, const void* p, uint64_t n) noexcept nogil

# Read the next item of this tag from *at on (which starts at 0), as bytes or as a container. False: there is none, or
# a failure.
cdef bint tlv_next(Tlv* self, uint16_t tag, uint64_t* at, uint8_t** p, uint64_t* n) noexcept nogil
cdef bint tlv_enter(Tlv* self, uint16_t tag, uint64_t* at, Tlv* inner) noexcept nogil

cdef void tlv_fail(Tlv* self, Result result) noexcept nogil

# Close what nobody took is the caller's; this frees the list.
cdef void descriptors_free(Descriptors* self) noexcept nogil
cdef bint descriptors_add(Descriptors* self, int fd) noexcept nogil
