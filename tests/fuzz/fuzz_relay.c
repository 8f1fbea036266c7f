/* Two neighbours of a relay send whatever frames they like, read or do not, and go. What waits for a slow one is no
 * more than the cap and what one turn reads; every frame that the relay sends opens as its next; every lane ends once;
 * memory comes back. */
#include "world.h"

enum { LINKS = 2, LANES = 2, TURNS = 128 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    world_load();
    return 0;
}

/* Paths of the input: number i has labels 10 i + 1 to 10 i + 4. */
static void add_path(void *w, uint32_t i, uint32_t cap, uint32_t priority) {
    world_order(w, ORDER_PATH_ADD, i, 1, 10 * i + 1, 10 * i + 2, 2, 10 * i + 3, 10 * i + 4, (uint64_t)cap << 8 | priority);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t body[65536], wire[65536 + 48];
    static const uint8_t types[8] = {0x42, 0x42, 0x42, 0x81, 0x82, 0x83, 0x84, 0x41};
    static const uint32_t lengths[8] = {8, 16, 1000, 8, 16, 4, 100, 40};
    input in = {data, size};
    uint8_t set_up = take8(&in), header[16];
    uint32_t turns = 0, next_path = 4;
    int peers[LINKS][LANES];
    /* The least budget that a core takes is 16 MiB; here less, so that it runs out. */
    uint64_t budget = set_up & 1 ? 1 << 24 : 300000 + 20000 * (set_up >> 3);
    void *w = world_start(RELAY, 2, 1 << 24, set_up & 2 ? 3 : 1u << 22);
    for (uint32_t link = 0; link < LINKS; link++) {
        world_link(w, link + 1, LANES, link == 0);
        for (uint32_t index = 0; index < LANES; index++)
            peers[link][index] = world_lane(w, link + 1, (uint16_t)index, 1);
    }
    for (uint32_t i = 1; i < next_path; i++)
        add_path(w, i, set_up & 4 ? 131072 : 4096, i % 3);
    world_limit(w, budget);
    while (in.n != 0 && turns++ < TURNS) {
        uint8_t what = take8(&in), choice = take8(&in);
        uint32_t link = choice & 1, index = choice >> 1 & 1, path = 1 + (choice >> 2 & 3), which = choice >> 5, n;
        int *peer = &peers[link][index];
        if (!world_has_lane(w, *peer) && what % 16 < 10)
            what = 12;
        switch (what % 16) {
        case 0: case 1: case 2: case 3: case 4: case 5: case 6: {
            int large = (what & 0x30) == 0x30 && which < 3;
            put_header(header, what & 0x80 && what & 0x40 ? take8(&in) : types[which],
                       what & 0x80 && !(what & 0x40) ? take32(&in) : 10 * path + (link ? 3 : 1), turns);
            n = large ? 1 + take16(&in) : lengths[which];
            world_write(w, *peer, wire, world_seal(w, *peer, header, 1, body, n, choice == 0x10, wire));
            break;
        }
        case 7:
            /* LOST for a label that the relay uses on this link, or does not. */
            put_header(header, 0x08, 0, 0);
            memset(wire, 0, 8);
            put32(wire, 10 * path + (link ? 4 : 2) + (which == 7));
            memcpy(body, wire, 8);
            world_write(w, *peer, wire, world_seal(w, *peer, header, 1, body, 8, 0, wire));
            memset(body, 0, 8);
            break;
        case 8: {
            uint8_t own[16];
            static const uint8_t own_lengths[8] = {40, 8, 8, 12, 4, 4, 9, 8};
            put_header(header, 1 + which, 0, 0);
            take(&in, own, 16);
            world_write(w, *peer, wire,
                        world_seal(w, *peer, header, 1, which == 0 ? body : own, own_lengths[which], 0, wire));
            break;
        }
        case 9:
            world_break(w, *peer);
            break;
        case 10:
            add_path(w, next_path++, 131072, which % 3);
            break;
        case 11:
            world_order(w, ORDER_PATH_REMOVE, path, 0, 0, 0, 0, 0, 0, 0);
            break;
        case 12: {
            int fresh = world_lane(w, link + 1, (uint16_t)index, which != 0);
            *peer = fresh >= 0 ? fresh : *peer;
            break;
        }
        case 13:
            if (which == 0)
                world_order(w, ORDER_LINK_CLOSE, link + 1, 0, 0, 0, 0, 0, 0, 0);
            else
                world_mark_unread(w, which & 1);
            break;
        default:
            world_read(w, *peer, what & 0x80 ? 1 << 19 : 1000);
        }
        if (what & 0x10)
            world_turn(w, choice & 1);
        /* What is borrowed from the receive space is counted when the turn settles it: eight slots of 256 KiB. */
        REQUIRE(world_excess(w) <= 65536 + 48 + 8 * 262144 + 65536 + 48);
    }
    world_end(w);
    return 0;
}
