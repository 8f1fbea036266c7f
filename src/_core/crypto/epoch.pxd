# The key schedule of docs/protocol.md, section 3, and one direction of a lane or flow with its epoch.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pcgrelay._core.crypto.aead cimport Aead
from pcgrelay._core.base.result cimport Result


cdef extern from *:
    """
    /* Limits of one key, docs/protocol.md 6.5: step at the soft one, stop at the hard one. */
    #define EPOCH_SOFT_FRAMES (1ull << 22)
    #define EPOCH_HARD_FRAMES (1ull << 24)
    #define EPOCH_SOFT_BYTES  (1ull << 36)
    #define EPOCH_HARD_BYTES  (1ull << 38)
    #define EPOCH_SOFT_US     (120ull * 1000000)
    #define EPOCH_HARD_US     (180ull * 1000000)
    _Static_assert(EPOCH_SOFT_FRAMES < EPOCH_HARD_FRAMES && EPOCH_SOFT_BYTES < EPOCH_HARD_BYTES
                   && EPOCH_SOFT_US < EPOCH_HARD_US, "a soft limit is below its hard one");
    """
    const uint64_t EPOCH_SOFT_FRAMES
    const uint64_t EPOCH_HARD_FRAMES
    const uint64_t EPOCH_SOFT_BYTES
    const uint64_t EPOCH_HARD_BYTES
    const uint64_t EPOCH_SOFT_US
    const uint64_t EPOCH_HARD_US

# The soft limits, which tests and the policy may lower.
cdef struct Limits:
    uint64_t frames
    uint64_t bytes
    uint64_t us

# Set lower soft limits. 0, or a value above the protocol's soft limit, means the protocol's.
cdef void limits_set(Limits* self, uint64_t frames, uint64_t octets, uint64_t us) noexcept nogil

cdef struct Epoch:
    Aead data                   # HOP_HEADER or FLOW_DATA
    Aead control                # HOP_BODY or FLOW_CONTROL
    Aead control_alt            # of a flow: the next control key (sender), or the previous one (receiver)
    uint8_t secret[32]          # S[d][number]
    uint8_t previous_key[32]    # of a flow: the control key of the previous epoch, as long as it may be used: for a
    uint8_t previous_iv[12]     # hand-over, because EVP does not give a key back
    Aead datagrams              # of a flow: the datagram key of control_number (sender) or number (receiver); most
    Aead datagrams_alt          # flows need none, so it is made when it is. Receiver: that of the previous epoch
    uint8_t previous_datagram_key[32]
    uint8_t previous_datagram_iv[12]
    uint32_t datagrams_from     # the first epoch whose datagram key may be used
    bint has_previous
    uint64_t frames             # sealed with all its keys together
    uint64_t bytes
    uint64_t since_us           # when the first frame came; 0: none yet
    uint32_t number
    uint32_t control_number     # the epoch of control
    uint32_t suite
    uint32_t purpose            # of data; control has the next one
    uint8_t direction
    bint sealing


# Expand(secret, label, context, length): length <= 32, label <= 27 characters, context <= 32 bytes.
cdef Result key_expand(const uint8_t* secret, const char* label, const uint8_t* context, uint32_t context_length,
                       uint8_t* out, uint32_t length) noexcept nogil

# Expand with a number of 1, 2 or 4 bytes as the context, into 32 bytes.
cdef Result key_expand_number(const uint8_t* secret, const char* label, uint32_t number, uint32_t width,
                              uint8_t* out) noexcept nogil

# The first 16 bytes of HMAC-SHA-256(key, data).
cdef Result key_proof(const uint8_t* key, const uint8_t* data, uint32_t n, uint8_t* out) noexcept nogil

# Start epoch 0 of a direction of a lane (purpose PURPOSE_HOP_HEADER) or flow (PURPOSE_FLOW_DATA) from its secret.
cdef Result epoch_start(Epoch* self, const uint8_t* secret, uint8_t direction, uint32_t suite, uint32_t purpose,
                        bint sealing) noexcept nogil

# Step to the next epoch; mix is 32 bytes, or NULL for a plain step. Lanes replace both keys; flows keep a control key
# (docs/protocol.md, 6.4). The old secret and keys are wiped.
cdef Result epoch_step(Epoch* self, const uint8_t* mix) noexcept nogil

# Sender of a flow: use the new control key from here on, because the step was acknowledged.
cdef void epoch_confirm(Epoch* self) noexcept nogil

# The datagram key of an epoch of a flow: a sender's of control_number, a receiver's of the present epoch or of the one
# before. floor: the least counter that a sender may use. NULL: the key is not held, or libcrypto failed.
cdef Aead* epoch_datagrams(Epoch* self, uint32_t epoch, uint64_t floor) noexcept nogil

# Whether that key is one that it may have, made or not.
cdef inline bint epoch_bears_datagrams(const Epoch* self, uint32_t epoch) noexcept nogil:
    return epoch >= self.datagrams_from \
        and (epoch == self.number or (self.has_previous and epoch + 1 == self.number))

# Make the contexts of an epoch that another process handed over; all else is set. data_floor and control_floor are the
# least counters that this process may use for sealing. RESULT_CRYPTO: libcrypto failed; the epoch is wiped.
cdef Result epoch_restore(Epoch* self, uint64_t data_floor, uint64_t control_floor) noexcept nogil

# Count a frame of n bytes that is to be sealed. RESULT_KEY_LIMIT: a hard limit is reached; the caller must close.
# ageless: a frame that may be sealed at any age of the key and does not start its age (docs/protocol.md, 6.5).
cdef Result epoch_spend(Epoch* self, uint64_t n, uint64_t now_us, bint ageless) noexcept nogil

# Whether a frame that may as well be dropped can be sealed now. The other half of a hard limit is kept for those that
# may not, so a flood of datagrams ends no session.
cdef bint epoch_spares(const Epoch* self, uint64_t now_us) noexcept nogil

cdef bint epoch_must_rekey(const Epoch* self, const Limits* limits, uint64_t now_us) noexcept nogil

# Wipe everything. May be called twice.
cdef void epoch_wipe(Epoch* self) noexcept nogil
