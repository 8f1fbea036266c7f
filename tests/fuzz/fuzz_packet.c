/* A packet that the neighbour has not sealed changes nothing but counts, whatever it is. One that it has sealed is taken
 * at most once, and what it says is held to the page; all that leaves is as long as a packet may be, and the pool gets
 * everything back. */
#include "harness.h"

enum { ROOM = 1400, STEPS = 64, TOKEN = 0x01020304 };

static void *(*packets_start)(uint32_t suite);
static uint32_t (*packets_seal)(void *, uint64_t, const uint8_t *, const uint8_t *, uint32_t, int, uint8_t *);
static int (*packets_rx)(void *, uint8_t *, uint32_t);
static uint64_t (*packets_state)(void *);
static void (*packets_turn)(void *, uint32_t);
static void (*packets_end)(void *);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    packets_start = harness_function("fuzzface", "packets_start");
    packets_seal = harness_function("fuzzface", "packets_seal");
    packets_rx = harness_function("fuzzface", "packets_rx");
    packets_state = harness_function("fuzzface", "packets_state");
    packets_turn = harness_function("fuzzface", "packets_turn");
    packets_end = harness_function("fuzzface", "packets_end");
    return 0;
}

/* Give it a copy in a block of its own length. */
static int give(void *w, const uint8_t *p, uint32_t n) {
    uint8_t *copy = malloc(n ? n : 1);
    int taken;
    memcpy(copy, p, n);
    taken = packets_rx(w, copy, n);
    free(copy);
    return taken;
}

/* Whatever it is, nothing may come of it. */
static void give_in_vain(void *w, const uint8_t *p, uint32_t n) {
    uint64_t before = packets_state(w);
    REQUIRE(!give(w, p, n));
    REQUIRE(packets_state(w) == before);
}

static void be32(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)(value >> 24), p[1] = (uint8_t)(value >> 16), p[2] = (uint8_t)(value >> 8), p[3] = (uint8_t)value;
}

static void raw(input *in, void *w) {
    uint8_t packet[ROOM] = {0}, how = take8(in);
    uint32_t n = take16(in) % ROOM;
    take(in, packet, n < 256 ? n : 256);
    if (how & 1)
        be32(packet, TOKEN);
    if (how & 2)
        memset(packet + 4, 0, 6);
    give_in_vain(w, packet, n);
}

static void sealed(input *in, void *w) {
    static const uint8_t types[8] = {0x85, 0x09, 0x0a, 0x85, 0x42, 0x07, 0x01, 0x0b};
    uint8_t packet[ROOM], body[1216] = {0}, header[16] = {0}, how = take8(in), type = types[how & 7];
    uint64_t number = how & 0x40 ? take32(in) : take16(in) % 4096;
    uint32_t n = type == 0x0a ? 16 : 8 + take16(in) % 1193, whole;
    header[1] = (uint8_t)(n >> 8), header[2] = (uint8_t)n, header[3] = type;
    if (type == 0x85)
        header[7] = 1;
    if (how & 0x10)
        take(in, header, 16);
    take(in, body, n < 64 ? n : 64);
    whole = packets_seal(w, number, header, body, n, !(how & 0x20), packet);
    if (how & 0x08) {
        uint32_t at = take16(in) % whole;
        packet[at] ^= (uint8_t)(1 << (how & 7));
        give_in_vain(w, packet, whole);
        return;
    }
    give(w, packet, whole);
    /* Once. */
    give_in_vain(w, packet, whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, size};
    void *w = packets_start(1 + take8(&in) % 3);
    uint32_t steps = 0;
    while (in.n != 0 && steps++ < STEPS) {
        uint8_t what = take8(&in);
        if (what & 1)
            sealed(&in, w);
        else if (what & 2)
            packets_turn(w, take16(&in));
        else
            raw(&in, w);
    }
    packets_end(w);
    return 0;
}
