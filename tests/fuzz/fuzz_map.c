/* Whatever is put and taken, a map holds what a plain array of keys holds, and walking it meets each value once. */
#include "harness.h"

typedef struct {
    void *slots;
    uint32_t mask, count;
} map;

static void *(*map_find)(const map *, uint32_t);
static int (*map_put)(map *, uint32_t, void *);
static void *(*map_remove)(map *, uint32_t);
static void *(*map_any)(const map *);
static void *(*map_next)(const map *, uint32_t *);
static void (*map_free)(map *);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    map_find = harness_function("pcgrelay._core.base.map", "map_find");
    map_put = harness_function("pcgrelay._core.base.map", "map_put");
    map_remove = harness_function("pcgrelay._core.base.map", "map_remove");
    map_any = harness_function("pcgrelay._core.base.map", "map_any");
    map_next = harness_function("pcgrelay._core.base.map", "map_next");
    map_free = harness_function("pcgrelay._core.base.map", "map_free");
    return 0;
}

/* Keys that the hash of the core spreads (small ones), and keys that it does not: multiples of the inverse of its
 * factor, which fall on neighbouring slots, or all on the first. */
static uint32_t key_of(uint8_t byte) {
    uint32_t j = byte & 0x7f;
    return byte & 0x80 ? (byte & 1 ? j << 16 | j : j) * 340573321u : byte;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static char values[256];
    void *model[256] = {0};
    uint32_t keys[256], count = 0;
    map m = {0};
    input in = {data, size};
    for (int i = 0; i < 256; i++)
        keys[i] = key_of((uint8_t)i);
    while (in.n != 0) {
        uint8_t what = take8(&in), at = take8(&in);
        /* Two bytes can give one key; the model goes by the first of them. */
        for (int i = 0; i < at; i++)
            if (keys[i] == keys[at])
                at = (uint8_t)i;
        if (what & 1) {
            void *value = &values[take8(&in)];
            REQUIRE(map_put(&m, keys[at], value));
            count += model[at] == NULL;
            model[at] = value;
        } else if (what & 2) {
            REQUIRE(map_remove(&m, keys[at]) == model[at]);
            count -= model[at] != NULL;
            model[at] = NULL;
        } else {
            REQUIRE(map_find(&m, keys[at]) == model[at]);
        }
        REQUIRE(m.count == count && (map_any(&m) == NULL) == (count == 0));
    }
    uint32_t walked = 0, tlv = 0;
    while (map_next(&m, &tlv))
        walked++;
    REQUIRE(walked == count);
    for (int i = 0; i < 256; i++)
        if (model[i])
            REQUIRE(map_find(&m, keys[i]) == model[i]);
    map_free(&m);
    return 0;
}
