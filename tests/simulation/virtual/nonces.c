/* Every nonce that any node of a world ever sealed with, by key: none may come twice. The keys are the bytes that
 * libcrypto is given, so it does not matter which node, lane, flow or epoch believes to have derived them. */
#include <dlfcn.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "virtual.h"

typedef struct {
    uint32_t key;               /* 0: free */
    uint8_t nonce[12];
} use;

typedef struct {
    uint8_t bytes[32];
    uint8_t last[12];
} sealing_key;

static use *uses;
static uint32_t use_size, use_count;
static sealing_key *keys;
static uint32_t key_size, key_count;
static uint32_t *by_bytes;      /* hash of a key's bytes -> its place, or 0 */
static uint32_t by_size;

SHOWN uint64_t virtual_seals;

void nonces_forget(void) {
    if (uses)
        memset(uses, 0, use_size * sizeof(use));
    if (by_bytes)
        memset(by_bytes, 0, by_size * sizeof(uint32_t));
    OPENSSL_cleanse(keys, key_size * sizeof(sealing_key));
    use_count = key_count = 0;
    virtual_seals = 0;
}

static uint64_t hash(const void *p, size_t n, uint64_t value) {
    const uint8_t *at = p;
    for (; n >= 4; n -= 4, at += 4) {
        uint32_t word;
        memcpy(&word, at, 4);
        value = (value ^ word) * 0x9e3779b97f4a7c15u;
        value ^= value >> 29;
    }
    return value ^ value >> 32;
}

/* The place of these key bytes, from 1. */
static uint32_t key_of(const uint8_t *bytes, uint32_t n) {
    uint8_t whole[32] = {0};
    memcpy(whole, bytes, n);
    if (2 * key_count >= by_size) {
        free(by_bytes);
        by_size = by_size ? 2 * by_size : 4096;
        by_bytes = calloc(by_size, sizeof(uint32_t));
        for (uint32_t i = 0; i < key_count; i++) {
            uint64_t at = hash(keys[i].bytes, 32, 1);
            while (by_bytes[at % by_size])
                at++;
            by_bytes[at % by_size] = i + 1;
        }
    }
    uint64_t at = hash(whole, 32, 1);
    for (; by_bytes[at % by_size]; at++)
        if (!memcmp(keys[by_bytes[at % by_size] - 1].bytes, whole, 32))
            return by_bytes[at % by_size];
    if (key_count == key_size) {
        key_size = key_size ? 2 * key_size : 1024;
        keys = realloc(keys, key_size * sizeof(sealing_key));
    }
    memcpy(keys[key_count].bytes, whole, 32);
    memset(keys[key_count].last, 0, 12);
    by_bytes[at % by_size] = ++key_count;
    return key_count;
}

/* False: it was used before. */
static bool note(use *table, uint32_t size, uint32_t key, const uint8_t *nonce) {
    uint64_t at = hash(nonce, 12, key);
    for (;; at++) {
        use *found = &table[at % size];
        if (found->key == 0) {
            found->key = key;
            memcpy(found->nonce, nonce, 12);
            return true;
        }
        if (found->key == key && !memcmp(found->nonce, nonce, 12))
            return false;
    }
}

static void grow(void) {
    uint32_t size = use_size ? 2 * use_size : 1 << 16;
    use *table = calloc(size, sizeof(use));
    for (uint32_t i = 0; i < use_size; i++)
        if (uses[i].key)
            note(table, size, uses[i].key, uses[i].nonce);
    free(uses);
    uses = table;
    use_size = size;
}

SHOWN int EVP_CipherInit_ex2(EVP_CIPHER_CTX *ctx, const EVP_CIPHER *cipher, const unsigned char *key,
                             const unsigned char *iv, int sealing, const OSSL_PARAM *params) {
    static int (*real)(EVP_CIPHER_CTX *, const EVP_CIPHER *, const unsigned char *, const unsigned char *, int,
                       const OSSL_PARAM *);
    uint8_t again[12];
    if (!real)
        real = (int (*)(EVP_CIPHER_CTX *, const EVP_CIPHER *, const unsigned char *, const unsigned char *, int,
                        const OSSL_PARAM *))dlsym(RTLD_NEXT, "EVP_CipherInit_ex2");
    if (world_on && key) {
        uintptr_t place = sealing == 1 ? key_of(key, (uint32_t)EVP_CIPHER_get_key_length(cipher)) : 0;
        EVP_CIPHER_CTX_set_app_data(ctx, (void *)place);
    } else if (world_on && iv && EVP_CIPHER_CTX_get_app_data(ctx)) {
        uint32_t place = (uint32_t)(uintptr_t)EVP_CIPHER_CTX_get_app_data(ctx);
        static const uint8_t none[12];
        if (memcmp(keys[place - 1].last, none, 12) && fault_strikes(FAULT_REUSED_NONCE)) {
            memcpy(again, keys[place - 1].last, 12);
            iv = again;
        }
        memcpy(keys[place - 1].last, iv, 12);
        virtual_seals++;
        if (2 * ++use_count >= use_size)
            grow();
        if (!note(uses, use_size, place, iv))
            broken("nonces", "node %d sealed twice under key %u with one nonce", owner, place);
    }
    return real(ctx, cipher, key, iv, sealing, params);
}
