/* Whatever comes as the state record of a hand-over: nothing crashes, what is refused or taken can be let go whole, and
 * memory stays within what the record's length and the budget allow. Only a record of a version that is read, whose
 * items fill it exactly, is taken. */
#include "world.h"

enum { HEAD = 8, ITEM = 6, OLDEST = 1, NEWEST = 3, DEEP = 6, TAG_ROLE = 1, TAG_COUNT = 2 };

static int (*worker_handover_run)(const uint8_t *, uint32_t, int, uint32_t, uint8_t);

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    world_load();
    worker_handover_run = harness_function("fuzzface", "worker_handover_run");
    return 0;
}

static uint32_t length_at(const uint8_t *p) {
    uint32_t length;
    memcpy(&length, p + 2, 4);
    return length;
}

static int is_filled(const uint8_t *p, size_t n) {
    while (n != 0) {
        if (n < ITEM || length_at(p) > n - ITEM)
            return 0;
        n -= ITEM + length_at(p);
        p += ITEM + length_at(p);
    }
    return 1;
}

/* A number of the outermost container, or zero. */
static uint32_t number_of(const uint8_t *p, size_t n, uint8_t tag) {
    if (!is_filled(p, n))
        return 0;
    for (; n != 0; n -= ITEM + length_at(p), p += ITEM + length_at(p))
        if (p[0] == tag && p[1] == 0 && length_at(p) != 0)
            return p[ITEM];
    return 0;
}

/* The input is the record. Its role and workers are those of the core that reads it, for any other is refused at once.
 * Nobody reads the last two bytes of its head: the first of them says what happens afterwards. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *items = data + (size < HEAD ? size : HEAD);
    size_t n = size < HEAD ? 0 : size - HEAD;
    int role = number_of(items, n, TAG_ROLE) == RELAY ? RELAY : EDGE;
    uint32_t workers = number_of(items, n, TAG_COUNT) == 2 ? 2 : 1;
    if (worker_handover_run(data, (uint32_t)size, role, workers, size < HEAD ? 0 : data[6])) {
        REQUIRE(size >= HEAD && memcmp(data, "PCGH", 4) == 0);
        REQUIRE(data[4] >= OLDEST && data[4] <= NEWEST && data[5] == 0);
        REQUIRE(is_filled(items, n));
    }
    return 0;
}

/* -- mutation ------------------------------------------------------------------------------------------------------- *
 * An item grows, shrinks, goes or comes twice, and all containers around it keep their lengths right: else nearly every
 * input would end at the first length. */

static uint32_t state;

static uint32_t roll(uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return below ? (state >> 8) % below : 0;
}

/* Change something between p and p + *n, at most `room` in all. */
static void change(uint8_t *p, size_t *n, size_t room, int depth) {
    size_t at = 0, count = 0, chosen, whole, value;
    for (size_t i = 0; i < *n; i += ITEM + length_at(p + i))
        count++;
    chosen = roll((uint32_t)count);
    while (chosen-- != 0)
        at += ITEM + length_at(p + at);
    value = length_at(p + at);
    whole = ITEM + value;
    if (depth < DEEP && value >= ITEM && is_filled(p + at + ITEM, value) && roll(8) != 0) {
        size_t tail = *n - at - whole, grown = value;
        uint8_t *copy = malloc(value + (room - *n) + 1), *rest = malloc(tail + 1);
        memcpy(copy, p + at + ITEM, value);
        memcpy(rest, p + at + whole, tail);
        change(copy, &grown, value + (room - *n), depth + 1);
        memcpy(p + at + ITEM, copy, grown);
        memcpy(p + at + ITEM + grown, rest, tail);
        free(copy);
        free(rest);
        uint32_t length = (uint32_t)grown;
        memcpy(p + at + 2, &length, 4);
        *n = at + ITEM + grown + tail;
        return;
    }
    switch (roll(8)) {
    case 0:
        memmove(p + at, p + at + whole, *n - at - whole);
        *n -= whole;
        return;
    case 1:
        if (*n + whole <= room) {
            memmove(p + at + whole, p + at, *n - at);
            *n += whole;
        }
        return;
    case 2:
        p[at] = (uint8_t)(1 + roll(48));
        return;
    case 3: case 4:
        /* A number that is at an edge. */
        if (value != 0) {
            memset(p + at + ITEM, roll(2) ? 0 : 0xff, value);
            p[at + ITEM + roll((uint32_t)value)] = (uint8_t)(1u << roll(8));
        }
        return;
    default:
        if (value != 0)
            LLVMFuzzerMutate(p + at + ITEM, value, value);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    size_t n = size > HEAD ? size - HEAD : 0;
    state = seed;
    if (n == 0 || !is_filled(data + HEAD, n) || roll(16) == 0)
        return LLVMFuzzerMutate(data, size, most);
    if (roll(4) == 0)
        data[6] = (uint8_t)roll(16);
    for (uint32_t i = 1 + roll(4); i != 0 && n != 0; i--)
        change(data + HEAD, &n, most - HEAD, 0);
    return HEAD + n;
}
