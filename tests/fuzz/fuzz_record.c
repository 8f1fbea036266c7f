/* Whatever the bytes, record_read reads none past the end; what it takes is no longer than what it got, its fields
 * point into it, and the writers of records make the same bytes of it again. */
#include "harness.h"

typedef struct {
    uint32_t stream, kind, length;
    const uint8_t *data;
    uint64_t value;
    uint32_t code, rule, marking, priority, transport;
    const uint8_t *service;
    uint32_t service_length;
} record;

static int (*record_read)(const uint8_t *, uint32_t, record *, uint32_t *);
static uint32_t (*record_open)(uint8_t *, uint32_t, uint64_t, uint32_t, uint32_t, uint32_t, const uint8_t *, uint32_t);
static uint32_t (*record_datagram)(uint8_t *, uint32_t, uint64_t, uint32_t);
static uint32_t (*record_number)(uint8_t *, uint32_t, uint32_t, uint64_t);
static uint32_t (*record_reset)(uint8_t *, uint32_t, uint32_t, uint32_t);
static void (*record_head)(uint8_t *, uint32_t, uint32_t, uint32_t);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    record_read = harness_function("pcgrelay._core.frame.record", "record_read");
    record_open = harness_function("pcgrelay._core.frame.record", "record_open");
    record_datagram = harness_function("pcgrelay._core.frame.record", "record_datagram");
    record_number = harness_function("pcgrelay._core.frame.record", "record_number");
    record_reset = harness_function("pcgrelay._core.frame.record", "record_reset");
    record_head = harness_function("pcgrelay._core.frame.record", "record_head");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    while (size != 0) {
        record r;
        uint32_t used = 0, n = 0;
        uint8_t again[8 + 12 + 63];
        if (record_read(data, (uint32_t)size, &r, &used) != 0)
            return 0;
        REQUIRE(8 <= used && used <= size && r.length == used - 8 && r.data == data + 8);
        switch (r.kind) {
        case 1:
            REQUIRE(r.service >= r.data && r.service + r.service_length == data + used && r.service_length <= 63);
            REQUIRE(r.transport <= 1);
            n = record_open(again, r.stream, r.value, r.marking, r.priority, r.transport, r.service, r.service_length);
            break;
        case 2:
        case 4:
        case 6:
            n = record_number(again, r.stream, r.kind, r.value);
            break;
        case 5:
            n = record_reset(again, r.stream, r.code, r.rule);
            break;
        case 7:
            REQUIRE(record_datagram(again, r.stream, r.value, r.length - 8) == 16 && memcmp(again, data, 16) == 0);
            break;
        default:
            REQUIRE(r.kind == 3 || r.kind == 8);
            record_head(again, r.stream, r.kind, r.length);
            REQUIRE(memcmp(again, data, 8) == 0);
        }
        REQUIRE(n == 0 || (n == used && memcmp(again, data, n) == 0));
        data += used;
        size -= used;
    }
    return 0;
}
