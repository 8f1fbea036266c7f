/* The functions of fuzzface.pyx as plain pointers: a worker without a thread, and what lies beyond its sockets. */
#ifndef PCGRELAY_FUZZ_WORLD_H
#define PCGRELAY_FUZZ_WORLD_H

#include "harness.h"

/* Roles and frames by the numbers of the core's .pxd files; orders as fuzzface.pyx lists them. */
enum { EDGE = 1, RELAY = 2 };
enum {
    ORDER_LINK_CLOSE, ORDER_LINK_DRAIN, ORDER_PATH_ADD, ORDER_PATH_REMOVE, ORDER_SESSION_PATH, ORDER_SESSION_CANDIDATE,
    ORDER_SESSION_CLOSE, ORDER_UNLISTEN, ORDER_DRAIN,
};
enum { OUR_LABEL = 101, THEIR_LABEL = 201, SESSION = 1 };

#define WORLD_FUNCTIONS                                                                                               \
    F(void *, world_start, int role, uint32_t suite, uint64_t budget, uint64_t rekey_frames)                          \
    F(uint64_t, world_end, void *w)                                                                                   \
    F(void, world_turn, void *w, int beat)                                                                            \
    F(void, world_rest, void *w)                                                                                      \
    F(void, world_order, void *w, int which, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f,   \
      uint64_t g, uint64_t h)                                                                                         \
    F(void, world_link, void *w, uint32_t link, uint32_t lanes, int dialler)                                          \
    F(int, world_lane, void *w, uint32_t link, uint16_t index, int greet)                                             \
    F(int, world_has_lane, void *w, int peer)                                                                         \
    F(uint32_t, world_seal, void *w, int peer, const uint8_t *header, int fit, const uint8_t *body, uint32_t n,       \
      int broken, uint8_t *out)                                                                                       \
    F(void, world_write, void *w, int peer, const uint8_t *p, uint32_t n)                                             \
    F(void, world_read, void *w, int peer, uint32_t limit)                                                            \
    F(void, world_break, void *w, int peer)                                                                           \
    F(void, world_mark_unread, void *w, int ends)                                                                     \
    F(const uint8_t *, world_sent, void *w, int peer, uint32_t *n)                                                    \
    F(uint64_t, world_events, void *w)                                                                                \
    F(int, world_ended_by_peer, void *w)                                                                              \
    F(void, world_limit, void *w, uint64_t budget)                                                                    \
    F(void, world_session, void *w, uint32_t link, int initiator, uint64_t cap, int up, int peer)                     \
    F(uint64_t, world_number, void *w, uint32_t type)                                                                 \
    F(uint64_t, world_expected, void *w)                                                                              \
    F(uint32_t, world_resume_id, void *w)                                                                             \
    F(void, world_settle, void *w)                                                                                    \
    F(void, world_dishonest, void *w)                                                                                 \
    F(void, world_tables, void *w, int which)                                                                         \
    F(void, world_listen, void *w, uint32_t number)                                                                   \
    F(void, world_connect, void *w)                                                                                   \
    F(void, world_application, void *w, uint32_t number)                                                              \
    F(void, world_client, void *w, uint32_t choice, const uint8_t *p, uint32_t n)                                     \
    F(uint32_t, world_applications, void *w)                                                                          \
    F(void, world_application_act, void *w, uint32_t at, int what, const uint8_t *p, uint32_t n)                      \
    F(void, world_alone, void *w)                                                                                     \
    F(int, world_bundle, void *w, uint8_t *body, uint32_t n)                                                          \
    F(void, world_open, void *w, uint32_t number)                                                                     \
    F(void, world_deliver, void *w, uint8_t choice)                                                                   \
    F(void, world_serve, void *w, uint8_t choice)                                                                     \
    F(uint64_t, world_excess, void *w)

#define F(returns, name, ...) static returns (*name)(__VA_ARGS__) __attribute__((unused));
WORLD_FUNCTIONS
#undef F

static void world_load(void) {
#define F(returns, name, ...) name = harness_function("fuzzface", #name);
    WORLD_FUNCTIONS
#undef F
}

static inline void put16(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)(value >> 8);
    p[1] = (uint8_t)value;
}

static inline void put32(uint8_t *p, uint32_t value) {
    put16(p, value >> 16);
    put16(p + 2, value);
}

static inline void put64(uint8_t *p, uint64_t value) {
    put32(p, (uint32_t)(value >> 32));
    put32(p + 4, (uint32_t)value);
}

/* A header in clear, its length left to world_seal. */
static inline void put_header(uint8_t *p, uint32_t type, uint32_t flow, uint64_t number) {
    memset(p, 0, 16);
    p[3] = (uint8_t)type;
    put32(p + 4, flow);
    put16(p + 10, (uint32_t)(number >> 32));
    put32(p + 12, (uint32_t)number);
}

/* The records of a bundle from the fuzzer's bytes: ids near to those in use, lengths that fit more often than not.
 * Answers how many bytes are at out, which has room for all that two bytes can ask for. */
static inline uint32_t put_records(input *in, uint8_t *out, uint32_t room, int initiator) {
    static const char *const names[8] = {"echo", "next", "away", "gone", "high", "deny", "none", "udp0"};
    uint32_t count = 1 + take8(in) % 8, used = 0;
    while (count-- != 0) {
        uint8_t mode = take8(in), kind = 1 + mode % 8, id = take8(in);
        uint8_t *p = out + used;
        uint32_t n = 8;
        if (room - used < 400)
            break;
        /* The far edge opens with its own parity; what it answers has ours. */
        put32(p, id & 0x80 ? (uint32_t)id << 24 | take16(in) : (uint32_t)(id & 0x3f) * 2 + (initiator ? 0 : 1)
                                                                    + (id & 0x40 ? 1 : 0));
        p[4] = kind;
        memset(p + 8, 0, 8);
        if (kind == 1) {
            uint8_t what = take8(in);
            put64(p + 8, what & 0x80 ? (uint64_t)take32(in) << (what & 7) : 16384 + take16(in));
            p[16] = what & 0x40 ? take8(in) : 1 + (what >> 3) % 3;
            p[17] = what & 0x20 ? take8(in) : 0;
            p[18] = what & 0x40 ? take8(in) % 3 : 0;
            if ((what & 0x47) == 7) {
                /* As it should be opened. */
                put64(p + 8, 0);
                p[18] = 1;
            }
            p[19] = 4;
            memcpy(p + 20, names[what & 7], 4);
            n = 16;
        } else if (kind == 2 || kind == 4 || kind == 6) {
            uint8_t what = take8(in);
            put64(p + 8, what & 0x80 ? (uint64_t)take32(in) << (what & 7) : (uint64_t)what * 4096);
        } else if (kind == 3) {
            n = take8(in);
            n = n & 0x80 ? n * 100 : n;
            n = n < room - used - 300 ? n : room - used - 300;
            memset(p + 8, mode, n);
        } else if (kind == 5) {
            put32(p + 8, take32(in));
            n = 4;
        } else {
            n = take8(in);
            memset(p + 8, 0, n < 8 ? 8 : n);
        }
        p[5] = 0;
        put16(p + 6, mode & 0x80 && mode & 0x40 ? take16(in) : n);
        used += 8 + n;
    }
    return used;
}

/* The same for DATAGRAMS. */
static inline uint32_t put_datagrams(input *in, uint8_t *out, uint32_t room) {
    uint32_t count = 1 + take8(in) % 8, used = 0;
    while (count-- != 0 && room - used >= 400) {
        uint8_t mode = take8(in), *p = out + used;
        uint32_t n = 8 + take8(in);
        put32(p, mode & 0x3f);
        p[4] = mode == 0xff ? 3 : 7;
        p[5] = 0;
        put16(p + 6, mode == 0xfe ? take16(in) : n);
        memset(p + 8, mode, n);
        used += 8 + n;
    }
    return used;
}

#endif
