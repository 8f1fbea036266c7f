/* Whatever the preambles, with a good proof or not: just those are taken that section 4.1 of the protocol says, whose
 * numbers are used up by a good proof alone; what is taken gives its secret once, and it is the dialler's. */
#include "harness.h"

typedef struct {
    uint8_t proof_key[32], root[32], secrets[129][32], waiting[129], link_id[16];
    uint32_t next, greatest, lanes;
} link_keys;

static int (*lane_keys_start)(link_keys *, const uint8_t *, const uint8_t *, uint32_t);
static int (*lane_keys_dial)(link_keys *, uint16_t, uint32_t *, uint8_t *);
static int (*lane_keys_check)(link_keys *, const uint8_t *, uint16_t *, uint32_t *);
static int (*lane_keys_use)(link_keys *, uint32_t, uint8_t *);
static void (*lane_keys_wipe)(link_keys *);
static int (*key_proof)(const uint8_t *, const uint8_t *, uint32_t, uint8_t *);

enum { NUMBERS = 4096 };
static uint8_t expected[NUMBERS][32]; /* the secrets of the first numbers, from a dialler */
static const uint8_t secret[32] = "a secret of a link, thirty-two.";
static const uint8_t link_id[16] = "sixteen bytes id";

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    lane_keys_start = harness_function("pcgrelay._core.crypto.lane_keys", "lane_keys_start");
    lane_keys_dial = harness_function("pcgrelay._core.crypto.lane_keys", "lane_keys_dial");
    lane_keys_check = harness_function("pcgrelay._core.crypto.lane_keys", "lane_keys_check");
    lane_keys_use = harness_function("pcgrelay._core.crypto.lane_keys", "lane_keys_use");
    lane_keys_wipe = harness_function("pcgrelay._core.crypto.lane_keys", "lane_keys_wipe");
    key_proof = harness_function("pcgrelay._core.crypto.epoch", "key_proof");
    link_keys dialler;
    uint8_t preamble[48];
    REQUIRE(lane_keys_start(&dialler, secret, link_id, 64) == 0);
    for (uint32_t i = 0; i < NUMBERS; i++) {
        uint32_t number = 0;
        REQUIRE(lane_keys_dial(&dialler, i % 64, &number, preamble) == 0 && number == i);
        REQUIRE(lane_keys_use(&dialler, number, expected[i]) == 0);
    }
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input in = {data, size};
    link_keys *keys = malloc(sizeof(link_keys));
    uint8_t *preamble = malloc(48);
    uint8_t proof[16], got[32], seen[NUMBERS] = {0};
    uint64_t greatest = 0; /* used up, plus 1 */
    REQUIRE(lane_keys_start(keys, secret, link_id, 1 + take8(&in) % 64) == 0);
    while (in.n != 0 && greatest < NUMBERS - 64) {
        uint16_t index = 0;
        uint32_t number = 0, n;
        uint8_t mode = take8(&in);
        memcpy(preamble, "PCGR\0\1", 6);
        memset(preamble + 6, 0, 42);
        preamble[7] = take8(&in);
        n = mode & 1 ? take32(&in) : (uint32_t)greatest + (int8_t)take8(&in);
        for (int i = 0; i < 4; i++)
            preamble[8 + i] = (uint8_t)(n >> (24 - 8 * i));
        memcpy(preamble + 16, link_id, 16);
        if (mode & 2)
            preamble[take8(&in) % 32] ^= take8(&in);
        if (mode & 4)
            take(&in, preamble + 32, 16);
        else
            REQUIRE(key_proof(keys->proof_key, preamble, 32, preamble + 32) == 0);
        n = (uint32_t)preamble[8] << 24 | preamble[9] << 16 | preamble[10] << 8 | preamble[11];
        REQUIRE(key_proof(keys->proof_key, preamble, 32, proof) == 0);
        int spent = memcmp(preamble, "PCGR\0\1", 6) == 0 && memcmp(preamble + 16, link_id, 16) == 0
                    && memcmp(proof, preamble + 32, 16) == 0 && n < greatest + 64 && n + 65ull >= greatest && !seen[n];
        int good = spent && (preamble[6] << 8 | preamble[7]) < (int)keys->lanes && memcmp(preamble + 12, "\0\0\0", 4) == 0;
        REQUIRE((lane_keys_check(keys, preamble, &index, &number) == 0) == good);
        if (spent) {
            seen[n] = 1;
            greatest = n >= greatest ? n + 1ull : greatest;
        }
        if (!good)
            continue;
        REQUIRE(number == n && index == (preamble[6] << 8 | preamble[7]));
        if (mode & 8)
            continue;
        REQUIRE(lane_keys_use(keys, number, got) == 0);
        REQUIRE(memcmp(got, expected[number], 32) == 0);
        REQUIRE(lane_keys_use(keys, number, got) != 0);
    }
    lane_keys_wipe(keys);
    free(keys);
    free(preamble);
    return 0;
}
