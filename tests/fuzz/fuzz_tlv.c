/* Whatever bytes are read as a container, nothing past them is looked at, nothing is changed, and every walk ends; what
 * is written as numbers, bytes and containers is read as it was, by the same calls, whatever else stands between. */
#include "harness.h"

typedef struct {
    int *fds;
    uint32_t count, room;
} descriptors;

typedef struct {
    uint8_t *p;
    uint64_t n, at;
    descriptors *descriptors;
    int reading, result;
} tlv;

static void (*tlv_write)(tlv *, uint8_t *, uint64_t, descriptors *);
static void (*tlv_read)(tlv *, uint8_t *, uint64_t, descriptors *);
static void (*tlv_number)(tlv *, uint16_t, void *, uint32_t);
static void (*tlv_bytes)(tlv *, uint16_t, void *, uint32_t);
static void (*tlv_descriptor)(tlv *, uint16_t, int *);
static uint64_t (*tlv_open)(tlv *, uint16_t);
static void (*tlv_shut)(tlv *, uint64_t);
static int (*tlv_next)(tlv *, uint16_t, uint64_t *, uint8_t **, uint64_t *);
static int (*tlv_enter)(tlv *, uint16_t, uint64_t *, tlv *);
static void (*descriptors_free)(descriptors *);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    tlv_write = harness_function("pcgrelay._core.base.tlv", "tlv_write");
    tlv_read = harness_function("pcgrelay._core.base.tlv", "tlv_read");
    tlv_number = harness_function("pcgrelay._core.base.tlv", "tlv_number");
    tlv_bytes = harness_function("pcgrelay._core.base.tlv", "tlv_bytes");
    tlv_descriptor = harness_function("pcgrelay._core.base.tlv", "tlv_descriptor");
    tlv_open = harness_function("pcgrelay._core.base.tlv", "tlv_open");
    tlv_shut = harness_function("pcgrelay._core.base.tlv", "tlv_shut");
    tlv_next = harness_function("pcgrelay._core.base.tlv", "tlv_next");
    tlv_enter = harness_function("pcgrelay._core.base.tlv", "tlv_enter");
    descriptors_free = harness_function("pcgrelay._core.base.tlv", "descriptors_free");
    return 0;
}

enum { DEEP = 8, TAGS = 6 };

/* Ask a container for everything, and each container in it too. */
static void walk(tlv *c, int depth) {
    static const uint32_t widths[] = {1, 2, 4, 8};
    uint8_t *room = malloc(64);
    for (uint16_t tag = 0; tag < TAGS; tag++) {
        uint64_t at = 0, n = 0, number = 0;
        uint8_t *p = NULL;
        int fd = 7;
        tlv inner;
        tlv_number(c, tag, &number, widths[tag % 4]);
        REQUIRE(widths[tag % 4] == 8 || number >> (8 * widths[tag % 4]) == 0);
        tlv_bytes(c, tag, room, 64);
        tlv_descriptor(c, tag, &fd);
        REQUIRE(fd == -1 || (fd >= 100 && fd < 104));
        while (tlv_next(c, tag, &at, &p, &n)) {
            REQUIRE(p >= c->p + 6 && n <= c->n && (uint64_t)(p - c->p) + n == at && at <= c->n);
            for (uint64_t i = 0; i < n; i++)
                room[0] ^= p[i];
        }
        at = 0;
        while (depth < DEEP && tlv_enter(c, tag, &at, &inner))
            walk(&inner, depth + 1);
    }
    free(room);
}

static void read_any(const uint8_t *data, size_t size) {
    uint8_t *p = malloc(size ? size : 1);
    uint8_t *before = malloc(size ? size : 1);
    int fds[4] = {100, 101, 102, 103};
    descriptors list = {fds, 4, 4};
    tlv c;
    memcpy(p, data, size);
    memcpy(before, data, size);
    tlv_read(&c, p, size, &list);
    walk(&c, 0);
    REQUIRE(memcmp(p, before, size) == 0);
    free(p);
    free(before);
}

/* Write what the input says, counted first, and read it back. */
static uint64_t wrote(tlv *c, input in) {
    uint64_t mark = tlv_open(c, 9), sum = 0;
    for (uint16_t tag = 1; in.n != 0 && tag < 200; tag++) {
        uint64_t number = (uint64_t)take32(&in) << 32 | take32(&in);
        uint8_t bytes[40];
        int fd = (int)(number % 3) - 1;
        take(&in, bytes, sizeof bytes);
        tlv_number(c, tag, &number, 8);
        tlv_bytes(c, (uint16_t)(tag + 1000), bytes, sizeof bytes);
        tlv_descriptor(c, (uint16_t)(tag + 2000), &fd);
        sum++;
    }
    tlv_shut(c, mark);
    return sum;
}

static void read_back(uint8_t *p, uint64_t n, descriptors *list, input in, uint64_t count) {
    tlv outer, c;
    uint64_t at = 0;
    tlv_read(&outer, p, n, list);
    REQUIRE(outer.result == 0 && tlv_enter(&outer, 9, &at, &c));
    for (uint16_t tag = 1; tag <= count; tag++) {
        uint64_t number = (uint64_t)take32(&in) << 32 | take32(&in), found = 0;
        uint8_t bytes[40], other[40] = {0};
        int wanted = (int)(number % 3) - 1, fd = 5;
        take(&in, bytes, sizeof bytes);
        tlv_bytes(&c, (uint16_t)(tag + 1000), other, sizeof other);
        tlv_number(&c, tag, &found, 8);
        tlv_descriptor(&c, (uint16_t)(tag + 2000), &fd);
        REQUIRE(found == number && memcmp(bytes, other, sizeof bytes) == 0 && fd == wanted);
    }
    REQUIRE(c.result == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, size};
    descriptors none = {0}, list = {0};
    tlv c;
    read_any(data, size);
    tlv_write(&c, NULL, 0, &none);
    uint64_t count = wrote(&c, in), n = c.at;
    REQUIRE(c.result == 0 && none.count == 0);
    uint8_t *p = malloc(n);
    tlv_write(&c, p, n, &list);
    REQUIRE(wrote(&c, in) == count && c.result == 0 && c.at == n);
    read_back(p, n, &list, in, count);
    if (n > 6) {
        /* One byte less room is noticed, and nothing is written past it. */
        descriptors unused = {0};
        uint8_t *less = malloc(n - 1);
        tlv_write(&c, less, n - 1, &unused);
        wrote(&c, in);
        REQUIRE(c.result != 0 && c.at <= n - 1);
        descriptors_free(&unused);
        free(less);
    }
    descriptors_free(&list);
    free(p);
    return 0;
}
