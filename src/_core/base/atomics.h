/* The few atomic operations of the core. Orders and events pass under a mutex; these are for counts of references, and
 * for figures that one thread writes and others look at whenever they like. Such a figure costs its writer no more
 * than a plain one: relaxed loads and stores are ordinary moves, and there is only one writer. */
#ifndef PCGRELAY_ATOMICS_H
#define PCGRELAY_ATOMICS_H

#include <stdint.h>

static inline int atomic_add(int *value, int n) { return __atomic_add_fetch(value, n, __ATOMIC_ACQ_REL); }

static inline uint64_t counter_get(const uint64_t *figure) { return __atomic_load_n(figure, __ATOMIC_RELAXED); }
static inline void counter_set(uint64_t *figure, uint64_t value) { __atomic_store_n(figure, value, __ATOMIC_RELAXED); }
static inline void counter_add(uint64_t *figure, uint64_t n) { counter_set(figure, counter_get(figure) + n); }

/* A pointer that another thread may change: the value alone, nothing of what it points to. */
static inline void *pointer_get(void *const *pointer) { return __atomic_load_n(pointer, __ATOMIC_RELAXED); }
static inline void pointer_set(void **pointer, void *value) { __atomic_store_n(pointer, value, __ATOMIC_RELAXED); }

static inline uint32_t counter32_get(const uint32_t *figure) { return __atomic_load_n(figure, __ATOMIC_RELAXED); }
static inline void counter32_set(uint32_t *figure, uint32_t value) {
    __atomic_store_n(figure, value, __ATOMIC_RELAXED);
}
static inline void counter32_add(uint32_t *figure, uint32_t n) {
    __atomic_store_n(figure, counter32_get(figure) + n, __ATOMIC_RELAXED);
}

/* Until when a budget that several threads take from is used up: so much later, and at most so far ahead. */
static inline void shared_spend(uint64_t *until, uint64_t now, uint64_t each, uint64_t most) {
    uint64_t before = counter_get(until), after;
    do {
        after = (before > now ? before : now) + each;
        if (after > now + most)
            after = now + most;
    } while (!__atomic_compare_exchange_n(until, &before, after, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
}

/* Take a share of such a budget if so much is left, and say whether it was: two threads never take the same. */
static inline int shared_take(uint64_t *until, uint64_t now, uint64_t share, uint64_t most) {
    uint64_t before = counter_get(until), from;
    do {
        from = before > now ? before : now;
        if (from + share > now + most)
            return 0;
    } while (!__atomic_compare_exchange_n(until, &before, from + share, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 1;
}

/* Have a budget used up until then at the latest, whatever was taken from it under other limits. */
static inline void shared_bound(uint64_t *until, uint64_t latest) {
    uint64_t before = counter_get(until);
    while (before > latest
           && !__atomic_compare_exchange_n(until, &before, latest, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
}

static inline void flag_raise(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELEASE); }
static inline int flag_is_up(const int *flag) { return __atomic_load_n(flag, __ATOMIC_ACQUIRE); }

#endif
