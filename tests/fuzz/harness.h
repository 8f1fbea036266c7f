/* What every harness needs: Python once, and then plain pointers to functions of the core.
 *
 * The pointer is called with libFuzzer's own block, so that AddressSanitizer sees each byte read past its end. */
#ifndef PCGRELAY_FUZZ_HARNESS_H
#define PCGRELAY_FUZZ_HARNESS_H

#include <Python.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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

#endif
