/* Whatever the 16 bytes, frame_unpack reads no others; a header that it takes is packed into the same 16 bytes again,
 * its body is no longer than 65,536, and its flow is 0 if and only if it is a lane's own. */
#include "harness.h"

typedef struct {
    uint32_t length, type, flow, epoch;
    uint64_t number;
} frame;

static int (*frame_unpack)(const uint8_t *, frame *);
static void (*frame_pack)(const frame *, uint8_t *);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    frame_unpack = harness_function("pcgrelay._core.frame.frame", "frame_unpack");
    frame_pack = harness_function("pcgrelay._core.frame.frame", "frame_pack");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    frame f;
    uint8_t again[16];
    for (; size >= 16; data += 16, size -= 16) {
        /* A block of its own, so that a read past it is seen. */
        uint8_t *header = malloc(16);
        memcpy(header, data, 16);
        if (frame_unpack(header, &f) == 0) {
            frame_pack(&f, again);
            REQUIRE(memcmp(header, again, 16) == 0);
            REQUIRE(f.length <= 65536 && (f.flow == 0) == (f.type < 0x40));
        }
        free(header);
    }
    return 0;
}
