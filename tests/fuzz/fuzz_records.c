/* A far edge sends whatever records it likes, between applications that connect, speak, listen and go. Nothing that an
 * edge says of it is malformed; every stream ends once; credit and memory come back when the session ends. */
#include "world.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    world_load();
    return 0;
}

enum { ROOM = 65536 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static uint8_t records[ROOM];
    input in = {data, size};
    uint8_t set_up = take8(&in);
    void *w = world_start(EDGE, 2, 1 << 24, 1u << 22);
    uint32_t turns = 0;
    world_alone(w);
    if (set_up & 1)
        /* So little memory that every taker of it is refused now and then. */
        world_limit(w, 40000 + 2000 * (set_up >> 1));
    while (in.n != 0 && turns++ < 64) {
        uint8_t what = take8(&in), choice = take8(&in);
        uint32_t n;
        uint8_t *body;
        switch (what % 8) {
        case 0:
            world_open(w, choice % 4);
            break;
        case 1:
            world_deliver(w, choice);
            break;
        case 2:
            world_serve(w, choice);
            break;
        case 3:
            world_turn(w, choice & 1);
            break;
        default:
            n = put_records(&in, records, choice & 1 ? ROOM : 4096, 0);
            /* A block of its own, so that a read past the bundle is seen. */
            body = malloc(n);
            memcpy(body, records, n);
            if (world_bundle(w, body, n) < 0)
                in.n = 0;
            world_deliver(w, choice);
            free(body);
        }
        if (what & 0x80) {
            world_deliver(w, choice);
            world_serve(w, choice);
        }
    }
    world_end(w);
    return 0;
}
