/* What every harness needs: Python once, and then plain pointers to functions of the core.
 *
 * The pointer is called with libFuzzer's own block, so that AddressSanitizer sees each byte read past its end. */
#ifndef PCGRELAY_FUZZ_HARNESS_H
#define PCGRELAY_FUZZ_HARNESS_H

#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The address of a cdef function that `module` declares in its .pxd. Never returns if there is none: libFuzzer would
 * go on without it, and a harness that calls nothing is always clean. */
static void *harness_function(const char *module, const char *name) {
    if (!Py_IsInitialized())
        Py_InitializeEx(0);
    PyObject *loaded = PyImport_ImportModule(module);
    PyObject *table = loaded ? PyObject_GetAttrString(loaded, "__pyx_capi__") : NULL;
    PyObject *capsule = table ? PyDict_GetItemString(table, name) : NULL;
    void *function = capsule ? PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule)) : NULL;
    if (!function) {
        if (PyErr_Occurred())
            PyErr_Print();
        fprintf(stderr, "harness: %s has no function %s\n", module, name);
        exit(1);
    }
    return function;
}

/* Ends the program, which libFuzzer reports with the input, unless the condition holds. */
#define REQUIRE(condition)                                                                                            \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                   \
            abort();                                                                                                  \
        }                                                                                                             \
    } while (0)

/* The fuzzer's bytes, taken from the front. Past the end there are zeros, so that a short input still means something. */
typedef struct {
    const uint8_t *p;
    size_t n;
} input;

static inline uint8_t take8(input *in) {
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

static inline uint32_t take16(input *in) {
    uint32_t high = take8(in);
    return high << 8 | take8(in);
}

static inline uint32_t take32(input *in) {
    uint32_t high = take16(in);
    return high << 16 | take16(in);
}

/* Copy n bytes, or what is left of them before zeros. */
static inline void take(input *in, void *out, size_t n) {
    size_t have = n < in->n ? n : in->n;
    memcpy(out, in->p, have);
    memset((uint8_t *)out + have, 0, n - have);
    in->p += have;
    in->n -= have;
}

#endif
