/* A whole edge between a neighbour, a far edge and applications on sockets, in whatever order they act, with re-keying
 * every few frames, lost lanes and resumption. A far edge that keeps to the protocol opens everything that it is sent;
 * every lane and stream ends once; sockets, credit and memory come back. */
#include "world.h"

enum { LINK = 7, TURNS = 96 };

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    world_load();
    return 0;
}

static const uint8_t flow_types[8] = {0x42, 0x42, 0x85, 0x43, 0x81, 0x82, 0x83, 0x41};

static void send_flow_frame(input *in, void *w, int peer, int initiator, uint32_t *epoch) {
    static uint8_t body[65536], wire[65536 + 48];
    uint8_t header[16], mode = take8(in), which = take8(in);
    uint32_t type = mode & 0x40 ? take8(in) : flow_types[which % 8], n;
    uint64_t number = world_number(w, type);
    int odd = (mode & 0x0f) == 0x0f;
    if (type < 0x40)
        type |= 0x80;
    memset(body, 0, 512);
    if (type == 0x42) {
        n = put_records(in, body, which & 8 ? 65536 : 4096, initiator);
    } else if (type == 0x85) {
        n = put_datagrams(in, body, which & 8 ? 65536 : 4096);
        /* They may be lost, overtake each other, and come twice. */
        number += which >> 4 == 15 ? 2000 : which >> 5;
        number -= mode & 0x10 && number >= 8 ? 8 : 0;
    } else if (type == 0x43) {
        n = 12;
        put32(body, ++*epoch);
    } else if (type == 0x81) {
        n = 8;
        put64(body, world_expected(w));
    } else if (type == 0x82) {
        n = 16;
        put32(body, world_resume_id(w) + (which >> 4) % 3);
        put64(body + 8, world_expected(w));
    } else {
        n = type == 0x41 ? 40 : take8(in);
        take(in, body, n);
    }
    if (odd) {
        /* Anything may be wrong with it. */
        world_dishonest(w);
        number += (int8_t)take8(in);
        body[take8(in)] ^= take8(in);
    }
    put_header(header, type, mode & 0x20 ? take16(in) : OUR_LABEL, number & 0xffffffffffffull);
    n = world_seal(w, peer, header, 1, body, n, odd ? take8(in) & 3 : 0, wire);
    world_write(w, peer, wire, n);
}

static void send_lane_frame(input *in, void *w, int peer) {
    static const uint8_t lengths[9] = {0, 40, 8, 8, 12, 4, 4, 16, 8};
    uint8_t header[16], body[64], wire[128], type = 1 + take8(in) % 8;
    put_header(header, type, 0, 0);
    memset(body, 0, sizeof(body));
    if (type == 8)
        put32(body, take8(in) & 1 ? OUR_LABEL : THEIR_LABEL);
    else
        take(in, body, lengths[type]);
    world_write(w, peer, wire, world_seal(w, peer, header, 1, body, lengths[type], 0, wire));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, size};
    uint8_t set_up = take8(&in), what, choice, text[4096];
    int initiator = set_up & 1, peer;
    uint32_t turns = 0, epoch = 0;
    void *w = world_start(EDGE, 1 + (set_up >> 1) % 3, 1 << 24, set_up & 8 ? 4 : 1u << 22);
    world_link(w, LINK, 1, initiator);
    peer = world_lane(w, LINK, 0, 1);
    world_tables(w, 0);
    world_session(w, LINK, initiator, set_up & 0x10 ? 1 << 18 : 4096, !(set_up & 0x80), peer);
    if (set_up & 0x20)
        world_limit(w, 200000 + 5000 * (set_up >> 6));
    memset(text, 'a', sizeof(text));
    while (in.n != 0 && turns++ < TURNS) {
        what = take8(&in);
        choice = take8(&in);
        switch (what % 20) {
        case 0: case 1: case 2: case 3: case 4:
            if (world_has_lane(w, peer))
                send_flow_frame(&in, w, peer, initiator, &epoch);
            break;
        case 5:
            if (world_has_lane(w, peer))
                send_lane_frame(&in, w, peer);
            break;
        case 6:
            world_application(w, choice % 4);
            break;
        case 7:
            world_tables(w, choice);
            break;
        case 8:
            world_break(w, peer);
            break;
        case 9:
            /* A new lane; the one before may still be up, and is replaced. */
            if ((what = (uint8_t)(world_lane(w, LINK, 0, choice & 3) + 1)) != 0)
                peer = what - 1;
            break;
        case 10:
            world_listen(w, choice % 4);
            break;
        case 11:
            world_connect(w);
            break;
        case 12:
            world_order(w, ORDER_UNLISTEN, choice % 4, 0, 0, 0, 0, 0, 0, 0);
            world_connect(w);
            break;
        case 13:
            if (choice & 2)
                /* Another path that nobody has answered over yet, or no longer. */
                world_order(w, ORDER_SESSION_CANDIDATE, SESSION, choice & 1 ? LINK : 9, OUR_LABEL + choice % 8,
                            choice & 4 ? THEIR_LABEL : 0, 0, 0, 0, 0);
            else
                world_order(w, ORDER_SESSION_PATH, SESSION, choice & 1 ? LINK : 9, OUR_LABEL, THEIR_LABEL, 0, 0, 0, 0);
            break;
        case 14:
            if (choice < 32)
                world_order(w, choice & 1 ? ORDER_LINK_CLOSE : ORDER_LINK_DRAIN, LINK, 5, 0, 0, 0, 0, 0, 0);
            else if (choice < 40)
                world_order(w, ORDER_DRAIN, 0, 0, 0, 0, 0, 0, 0, 0);
            else
                world_mark_unread(w, choice & 1);
            break;
        case 15:
            world_read(w, peer, 1 + choice * 4096);
            break;
        case 16:
            world_settle(w);
            break;
        case 17:
            world_client(w, choice, text, what & 0x20 ? sizeof(text) : what & 0x40 ? 0 : 7);
            break;
        default:
            if (world_applications(w) != 0)
                world_application_act(w, choice % world_applications(w), (what >> 5) & 3, text,
                                      what & 0x10 ? sizeof(text) : 7);
        }
        if (choice & 0x80)
            world_turn(w, choice & 0x40);
        if (choice & 0x20)
            world_read(w, peer, 1 << 19);
    }
    world_end(w);
    return 0;
}
