# A worker and what lies beyond its sockets, for harnesses in C. See fuzzface.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


# A worker of this role with a budget in bytes and no thread. Its keys step after so many frames. Never NULL.
cdef void* world_start(int role, uint32_t suite, uint64_t budget, uint64_t rekey_frames) noexcept nogil

# Stop it; whatever was not given back by then ends the program. Answers how many lanes and streams there were.
cdef uint64_t world_end(void* world) noexcept nogil

# One turn of the loop, or one with the beat.
cdef void world_turn(void* world, bint beat) noexcept nogil

# Turns until nothing comes in any more.
cdef void world_rest(void* world) noexcept nogil

# Give the worker an order as the face does, by its place in world.h; secrets and pointers are filled in here.
cdef void world_order(void* world, int which, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,
                      uint64_t g, uint64_t h) noexcept nogil
cdef void world_link(void* world, uint32_t link, uint32_t lanes, bint dialler) noexcept nogil

# A lane of a link with its far end: answer the number of that end, or -1 when no more are kept. greet: send CONFIRM.
cdef int world_lane(void* world, uint32_t link, uint16_t index, bint greet) noexcept nogil
cdef bint world_has_lane(void* world, int peer) noexcept nogil

# Seal a frame for a lane as its far end would. header: 16 bytes in clear, of which the length is set to n if fit.
# broken: 1 flips a bit of the body's tag, 2 of the header's. Answers the size of the frame at out.
cdef uint32_t world_seal(void* world, int peer, const uint8_t* header, bint fit, const uint8_t* body, uint32_t n,
                         int broken, uint8_t* out) noexcept nogil

# The far end writes n bytes, with a turn in between when the socket is full.
cdef void world_write(void* world, int peer, const uint8_t* p, uint32_t n) noexcept nogil

# The far end reads at most limit bytes and opens every frame; a frame that is not the worker's next one ends the
# program.
cdef void world_read(void* world, int peer, uint32_t limit) noexcept nogil
cdef void world_break(void* world, int peer) noexcept nogil
cdef void world_mark_unread(void* world, bint ends) noexcept nogil

# What the worker sent to a far end, sealed as it came; and a digest of its events.
cdef const uint8_t* world_sent(void* world, int peer, uint32_t* n) noexcept nogil
cdef uint64_t world_events(void* world) noexcept nogil
cdef bint world_ended_by_peer(void* world) noexcept nogil
cdef void world_limit(void* world, uint64_t budget) noexcept nogil

# An edge's session with one flow, up or only known; labels: ours and theirs.
cdef void world_session(void* world, uint32_t link, bint initiator, uint64_t cap, bint up, int peer) noexcept nogil

# The number of the far edge's next frame of a type, and what it expects next.
cdef uint64_t world_number(void* world, uint32_t type) noexcept nogil
cdef uint64_t world_expected(void* world) noexcept nogil
cdef uint32_t world_resume_id(void* world) noexcept nogil
cdef void world_settle(void* world) noexcept nogil
cdef void world_dishonest(void* world) noexcept nogil

# Tables: 0 and 1 differ in one import. Applications: those of an import, and those that an export leads to.
cdef void world_tables(void* world, int which) noexcept nogil
cdef void world_listen(void* world, uint32_t number) noexcept nogil
cdef void world_connect(void* world) noexcept nogil
cdef void world_application(void* world, uint32_t number) noexcept nogil
cdef uint32_t world_applications(void* world) noexcept nogil

# Clients of the import of datagrams (number 3), and the target of the export "udp0".
cdef void world_client(void* world, uint32_t choice, const uint8_t* p, uint32_t n) noexcept nogil
cdef void world_application_act(void* world, uint32_t at, int what, const uint8_t* p, uint32_t n) noexcept nogil

# The edge's records alone, with this file in the place of port: no socket, no lane.
cdef void world_alone(void* world) noexcept nogil
cdef int world_bundle(void* world, uint8_t* body, uint32_t n) noexcept nogil
cdef void world_open(void* world, uint32_t number) noexcept nogil
cdef void world_deliver(void* world, uint8_t choice) noexcept nogil
cdef void world_serve(void* world, uint8_t choice) noexcept nogil

# How much the flows of a relay have queued beyond their cap at most.
cdef uint64_t world_excess(void* world) noexcept nogil

# Read n bytes at p as a process does that takes over, in a core of this role with so many workers; let it run for a few
# turns if it took them, and let it go. choice: what its neighbours and applications do. Was it taken?
cdef int worker_handover_run(const uint8_t* p, uint32_t n, int role, uint32_t workers, uint8_t choice) noexcept

# One side of a UDP lane: see packets.pxi.
cdef void* packets_start(uint32_t suite) noexcept nogil
cdef uint32_t packets_seal(void* way, uint64_t number, const uint8_t* header, const uint8_t* body, uint32_t n,
                           bint own, uint8_t* out) noexcept nogil
cdef bint packets_rx(void* way, uint8_t* p, uint32_t n) noexcept nogil
cdef uint64_t packets_state(void* way) noexcept nogil
cdef void packets_turn(void* way, uint32_t ms) noexcept nogil
cdef void packets_end(void* way) noexcept nogil
