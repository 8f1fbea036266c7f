# Numbers as text, in ASCII. Each writes into out and returns how many characters it wrote.
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef enum:
    DIGITS_MOST = 20            # of a number
    DIGITS_STREAM_ID = 30       # of a stream's id

cdef uint32_t digits_put(uint8_t* out, uint64_t number) noexcept nogil

# The last width digits, with zeros in front.
cdef uint32_t digits_put_padded(uint8_t* out, uint64_t number, uint32_t width) noexcept nogil

# The id of a stream of a session, as services/stream_ids of the control plane has it: eight digits of the session's id
# in hexadecimal, the flow, the stream.
cdef uint32_t digits_put_stream_id(uint8_t* out, uint32_t id_head, uint32_t flow, uint32_t stream) noexcept nogil
