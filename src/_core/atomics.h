/* The few atomic operations of the core. Orders and events pass under a mutex; these are for counts of references. */
#ifndef PCGRELAY_ATOMICS_H
#define PCGRELAY_ATOMICS_H

static inline int atomic_add(int *value, int n) { return __atomic_add_fetch(value, n, __ATOMIC_ACQ_REL); }

#endif
