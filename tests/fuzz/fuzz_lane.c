/* A neighbour that has the keys sends whatever it likes. Whole or cut anywhere, the lane answers with the same bytes
 * and the same events; every frame of its own opens at the neighbour; the pool gets everything back. */
#include "world.h"

enum { STREAM = 1 << 18, FRAMES = 48 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    world_load();
    return 0;
}

static const uint8_t types[16] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
                                  0x41, 0x42, 0x43, 0x81, 0x82, 0x83, 0x84, 0x85};
static const uint8_t lengths[16] = {40, 8, 8, 12, 4, 4, 0, 8, 40, 16, 12, 8, 16, 4, 0, 16};

/* One sealed frame of the fuzzer's making at out; answers its size. */
static uint32_t make_frame(input *in, void *w, int peer, uint8_t *out, uint32_t *epoch) {
    static uint8_t body[65536 + 64];
    uint8_t header[16], mode = take8(in), which = take8(in);
    uint32_t n = lengths[which & 15];
    put_header(header, types[which & 15], (which & 15) < 8 ? 0 : OUR_LABEL, 0);
    if (mode & 0x80)
        take(in, header, 16);
    if (mode & 0x40)
        n = take16(in) & 0x1fff;
    if (which == 0x16)
        n = 65536;
    memset(body, 0, n);
    if (n <= 512)
        take(in, body, n);
    if (types[which & 15] == 4 && !(mode & 0x20)) {
        put32(body, ++*epoch);
        put64(body + 4, 0);
    }
    return world_seal(w, peer, header, !(mode & 0x10), body, n, (mode & 0x0f) == 1 ? 1 : (mode & 0x0f) == 2 ? 2 : 0, out);
}

static void *start(int role, uint32_t suite, int dialler, int greet, int *peer) {
    void *w = world_start(role, suite, 1 << 24, 1u << 22);
    world_link(w, 7, 4, dialler);
    *peer = world_lane(w, 7, 2, greet);
    REQUIRE(*peer >= 0);
    return w;
}

static void feed(void *w, int peer, const uint8_t *p, uint32_t n) {
    world_write(w, peer, p, n);
    world_rest(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t *stream;
    input in = {data, size};
    uint8_t set_up = take8(&in), cuts = take8(&in);
    int role = set_up & 1 ? RELAY : EDGE, dialler = set_up >> 1 & 1, greet = (set_up >> 2 & 3) != 0;
    uint32_t suite = 1 + set_up / 16 % 3, n = 0, frames = 0, epoch = 0, at, whole_n, cut_n;
    int peer, again;
    void *whole = start(role, suite, dialler, greet, &peer);
    void *cut = start(role, suite, dialler, greet, &again);
    const uint8_t *whole_sent, *cut_sent;
    if (!stream)
        stream = malloc(STREAM);
    while (in.n != 0 && frames++ < FRAMES && n < STREAM - 65536 - 128)
        n += make_frame(&in, whole, peer, stream + n, &epoch);
    feed(whole, peer, stream, n);
    for (at = 0; at < n;) {
        uint32_t part = cuts < 8 ? 1 + cuts : 1 + (cuts * 2654435761u ^ at * 40503u) % (1u << (cuts % 17));
        /* Byte by byte through the beginning only, or a large frame would take seconds. */
        if (at > 1024 && part < 256)
            part = 997;
        part = part < n - at ? part : n - at;
        feed(cut, again, stream + at, part);
        at += part;
    }
    world_turn(whole, 1);
    world_turn(cut, 1);
    world_read(whole, peer, 1 << 20);
    world_read(cut, again, 1 << 20);
    whole_sent = world_sent(whole, peer, &whole_n);
    cut_sent = world_sent(cut, again, &cut_n);
    REQUIRE(world_events(whole) == world_events(cut));
    /* When the neighbour says CLOSE, what was not sent by then is not sent any more. */
    REQUIRE(whole_n == cut_n || (world_ended_by_peer(whole) && whole_n < cut_n));
    REQUIRE(memcmp(whole_sent, cut_sent, whole_n) == 0);
    world_end(whole);
    world_end(cut);
    return 0;
}
