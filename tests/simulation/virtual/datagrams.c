/* Datagrams beside the streams of a world: an edge that has sealed a bundle says some datagrams too, relays lose them,
 * bring them twice and let them overtake each other, and each is heard at most once, as it was said. Nothing here is a
 * fault: a network may do all of it. The functions stand in the place of the core's; see sabotage.py. */
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

enum {
    RESULT_OK = 0, RESULT_BUDGET = 24, FRAME_DATAGRAMS = 0x85, FRAME_PREFIX = 48, FRAME_SIZE = 24, RECORD_HEAD = 16,
    RECORD_DATAGRAM = 7, BUF_LENGTH_AT = 28, LONGEST = 600, KEPT = 8, OWNERS = 1024,
};

typedef struct {
    void *shard, *lane;             /* where it came; NULL: nothing is kept here */
    uint8_t frame[FRAME_SIZE], wire[FRAME_PREFIX + RECORD_HEAD + LONGEST];
    uint32_t n;
} overtaken;

static bool wanted;
static bool fails;                  /* relays treat those of clients so, too */
static uint8_t *was_heard;          /* by the number of a datagram */
static uint32_t said, room, heard;
static overtaken kept[KEPT];
static uint64_t arrived[OWNERS];    /* datagrams, in frames that a process of a node has opened */

SHOWN void *real_session_bundle, *real_records_rx_datagrams, *own_session_datagrams;
extern void *real_relay_frame, *own_buf_alloc, *own_buf_drop;

void datagrams_forget(void) {
    free(was_heard);
    was_heard = NULL;
    said = room = heard = 0;
    memset(kept, 0, sizeof(kept));
    memset(arrived, 0, sizeof(arrived));
    wanted = fails = false;
}

SHOWN void virtual_datagrams(bool are_wanted, bool relays_fail) {
    wanted = are_wanted;
    fails = relays_fail;
}

bool datagrams_are_wanted(void) {
    return wanted || fails;
}

SHOWN void virtual_datagrams_heard(uint32_t *of_said, uint32_t *were_heard) {
    *of_said = said;
    *were_heard = heard;
}

static uint8_t octet_of(uint32_t number, uint32_t at) {
    return (uint8_t)(number * 2654435761u >> 24) ^ (uint8_t)(at * 7);
}

/* The pool is the first of a shard. */
static int say(void *shard, void *flow) {
    uint32_t n = (uint32_t)(chance() % LONGEST), i;
    uint8_t *buf = ((void *(*)(void *, size_t, int))own_buf_alloc)(shard, FRAME_PREFIX + RECORD_HEAD + n, 0);
    if (!buf)
        return RESULT_OK;
    if (said == room) {
        room = room ? 2 * room : 1024;
        was_heard = realloc(was_heard, room);
    }
    was_heard[said] = 0;
    uint8_t *body = buf + BUF_HEAD + FRAME_PREFIX;
    memset(body, 0, RECORD_HEAD);
    body[3] = 1;
    body[4] = RECORD_DATAGRAM;
    body[6] = (uint8_t)((n + 8) >> 8);
    body[7] = (uint8_t)(n + 8);
    for (i = 0; i < 4; i++)
        body[12 + i] = (uint8_t)(said >> (24 - 8 * i));
    for (i = 0; i < n; i++)
        body[RECORD_HEAD + i] = octet_of(said, i);
    said++;
    int answer = ((int (*)(void *, void *, void *, uint32_t))own_session_datagrams)(shard, flow, buf, RECORD_HEAD + n);
    return answer == RESULT_BUDGET ? RESULT_OK : answer;
}

SHOWN int faulty_session_bundle(void *shard, void *flow, void *buf, uint32_t n) {
    int answer = ((int (*)(void *, void *, void *, uint32_t))real_session_bundle)(shard, flow, buf, n);
    for (uint32_t count = wanted ? (uint32_t)(chance() % 4) : 0; count && answer == RESULT_OK; count--)
        answer = say(shard, flow);
    return answer;
}

/* As if a copy of its own had come: the label in it is changed on the way. */
static int forward(void *shard, void *lane, const void *frame, const uint8_t *wire, uint32_t n) {
    int answer = RESULT_OK;
    uint8_t *copy = ((void *(*)(void *, size_t, int))own_buf_alloc)(shard, n, 0);
    if (!copy)
        return RESULT_OK;
    memcpy(copy + BUF_HEAD, wire, n);
    memcpy(copy + BUF_LENGTH_AT, &n, sizeof(n));
    answer = ((int (*)(void *, void *, const void *, uint8_t *, void *))real_relay_frame)(
        shard, lane, frame, copy + BUF_HEAD, copy);
    ((void (*)(void *, void *))own_buf_drop)(shard, copy);
    return answer;
}

/* Some that were kept back, behind those that came later. */
static int let_go(void *shard, void *lane) {
    int answer = RESULT_OK;
    for (int i = 0; i < KEPT && answer == RESULT_OK; i++)
        if (kept[i].lane == lane && kept[i].shard == shard && chance() % 3 == 0) {
            kept[i].lane = NULL;
            answer = forward(shard, lane, kept[i].frame, kept[i].wire, kept[i].n);
        }
    return answer;
}

/* What a network does to datagrams. Answers whether this one goes on at once. */
static bool goes_on(void *shard, void *lane, const void *frame, const uint8_t *wire, uint32_t n, int *answer) {
    overtaken *place = &kept[chance() % KEPT];
    switch (chance() % 8) {
    case 0:
        return false;
    case 1:
        *answer = forward(shard, lane, frame, wire, n);
        return true;
    case 2:
    case 3:
        if (n > sizeof(place->wire))
            return true;
        place->shard = shard;
        place->lane = lane;
        place->n = n;
        memcpy(place->frame, frame, FRAME_SIZE);
        memcpy(place->wire, wire, n);
        /* At times it comes twice, the second time late. */
        return chance() % 4 == 0;
    default:
        return true;
    }
}

int datagrams_relayed(void *shard, void *lane, const void *frame, uint8_t *wire, void *buf) {
    int (*real)(void *, void *, const void *, uint8_t *, void *) = real_relay_frame;
    uint32_t n = FRAME_PREFIX + ((uint32_t)wire[0] << 16 | (uint32_t)wire[1] << 8 | wire[2]);
    int answer = RESULT_OK;
    if (wire[3] != FRAME_DATAGRAMS || goes_on(shard, lane, frame, wire, n, &answer)) {
        if (answer == RESULT_OK)
            answer = real(shard, lane, frame, wire, buf);
    }
    return answer == RESULT_OK && (wanted || fails) ? let_go(shard, lane) : answer;
}

static void hear(const uint8_t *body, uint32_t n) {
    uint32_t number = (uint32_t)body[12] << 24 | (uint32_t)body[13] << 16 | (uint32_t)body[14] << 8 | body[15], i;
    if (n < RECORD_HEAD || number >= said) {
        broken("datagrams", "one of %u bytes was heard that nobody said", n);
        return;
    }
    if (was_heard[number])
        broken("datagrams", "number %u was heard twice", number);
    for (i = RECORD_HEAD; i < n; i++)
        if (body[i] != octet_of(number, i - RECORD_HEAD)) {
            broken("datagrams", "number %u is not what was said", number);
            break;
        }
    was_heard[number] = 1;
    heard++;
}

static uint32_t datagrams_in(const uint8_t *body, uint32_t n) {
    uint32_t count = 0, used;
    for (; n >= 8; body += used, n -= used) {
        used = 8 + ((uint32_t)body[5] << 16 | (uint32_t)body[6] << 8 | body[7]);
        count += body[4] == RECORD_DATAGRAM;
        if (used > n)
            break;
    }
    return count;
}

SHOWN uint64_t virtual_datagrams_arrived(int of) {
    return arrived[of];
}

SHOWN int faulty_records_rx_datagrams(void *shard, void *flow, uint8_t *body, uint32_t n, void *buf) {
    int (*real)(void *, void *, uint8_t *, uint32_t, void *) = real_records_rx_datagrams;
    if (owner >= 0 && owner < OWNERS)
        arrived[owner] += datagrams_in(body, n);
    if (wanted)
        hear(body, n);
    if (fault_strikes(FAULT_DOUBLED_DATAGRAMS))
        hear(body, n);
    return real(shard, flow, body, n, buf);
}
