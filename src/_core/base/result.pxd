# The results of the core's functions. 0 is success; every refusal has a name. The numbers below 100 are the local
# reasons of docs/protocol.md, section 10; those from 100 on are not refusals of a peer.
from libc.stdint cimport uint32_t

from pcgrelay._core.base.wire cimport CODE_BUSY, CODE_EXPIRED, CODE_LIMIT, CODE_TIMEOUT, CODE_VIOLATION


cdef enum Result:
    RESULT_OK = 0
    RESULT_BAD_TAG = 1
    RESULT_BAD_LENGTH = 2
    RESULT_BAD_TYPE = 3
    RESULT_BAD_FLAGS = 4
    RESULT_BAD_FIELD = 5
    RESULT_NOT_CONFIRMED = 6
    RESULT_BAD_CONFIRM = 7
    RESULT_BAD_EPOCH = 8
    RESULT_BAD_NUMBER = 9
    RESULT_BAD_RECORD = 10
    RESULT_BAD_STREAM = 11
    RESULT_BAD_STATE = 12
    RESULT_CREDIT_EXCEEDED = 13
    RESULT_BAD_CREDIT = 14
    RESULT_BAD_FINAL = 15
    RESULT_UNKNOWN_FLOW = 16
    RESULT_GLITCHES = 17
    RESULT_KEY_LIMIT = 18
    RESULT_TOO_MANY_RESUMES = 19
    RESULT_SILENT = 20
    RESULT_PEER_CLOSED = 21
    RESULT_SOCKET = 22
    RESULT_CONFIRM_TIMEOUT = 23
    RESULT_BUDGET = 24
    RESULT_UNKNOWN_MIX = 25
    RESULT_LOST_PATH = 26
    RESULT_LOCAL_CLOSE = 27
    RESULT_REPLACED = 28
    RESULT_STREAM_IDS = 29
    RESULT_BAD_PREAMBLE = 30
    RESULT_MIX_OVERDUE = 31
    RESULT_UNANSWERED = 32
    RESULT_REASONS = 33         # how many reasons there are, with OK

    RESULT_MORE = 100           # more bytes are needed
    RESULT_LATE = 101           # a record of a stream that has ended: ignored and counted
    RESULT_DUPLICATE = 102      # a frame that was delivered before: ignored and counted
    RESULT_GAP = 103            # a frame ahead of the next one: starts a resumption
    RESULT_NO_MEMORY = 104      # the budget is used up
    RESULT_CRYPTO = 105         # libcrypto failed where it should not
    RESULT_NONCE = 106          # a counter that was used before: refused, so that no nonce is used twice
    RESULT_STALE = 107          # datagrams below the replay window, or of an epoch without a key: ignored and counted
    RESULT_REPLAYED = 108       # datagrams that were opened before: ignored and counted


# The reason under which a result is reported: NO_MEMORY is reported as BUDGET.
cdef inline Result result_reason(Result answer) noexcept nogil:
    return RESULT_BUDGET if answer == RESULT_NO_MEMORY else answer

# Its index among the counters of refusals; 0 is for failures of libcrypto.
cdef inline int result_place(Result answer) noexcept nogil:
    cdef int reason = <int>result_reason(answer)
    return reason if reason < <int>RESULT_REASONS else 0

# The code that the far side of a session or lane gets (docs/protocol.md, section 10).
cdef inline uint32_t result_code(Result answer) noexcept nogil:
    if answer == RESULT_KEY_LIMIT or answer == RESULT_MIX_OVERDUE:
        return CODE_EXPIRED
    if answer == RESULT_GLITCHES or answer == RESULT_TOO_MANY_RESUMES or answer == RESULT_STREAM_IDS \
            or answer == RESULT_UNANSWERED:
        return CODE_LIMIT
    if answer == RESULT_SILENT:
        return CODE_TIMEOUT
    if answer == RESULT_NO_MEMORY or answer == RESULT_BUDGET or answer == RESULT_CRYPTO:
        return CODE_BUSY
    return CODE_VIOLATION
