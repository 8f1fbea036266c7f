/* pcgrelay._libcrypto: a libcrypto that nothing else in the process can see, and one table of what the core calls of it.
 *
 * Only a build with PCGRELAY_LIBCRYPTO=wheel has this module. libcrypto.a is linked into it with all its symbols
 * hidden, and bound within: neither a preloaded library nor one that another extension brings can take the place of a
 * function. No configuration file and no environment variable reaches it, for it was built without. The module gives
 * Python nothing but the capsule `table`, and `version`. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#define PCG_CRYPTO_TABLE_FILLED_HERE
#include "base/crypto_calls.h"

#define CRYPTO_VALUE(name) .name##_ = name,
static const struct crypto_table table = {.size = sizeof table, CRYPTO_CALLS(CRYPTO_VALUE)};

static int module_exec(PyObject *module) {
    PyObject *capsule = PyCapsule_New((void *)&table, CRYPTO_CAPSULE, NULL);
    if (capsule == NULL)
        return -1;
    int failed = PyModule_AddObjectRef(module, "table", capsule);
    Py_DECREF(capsule);
    return failed ? failed : PyModule_AddStringConstant(module, "version", OpenSSL_version(OPENSSL_VERSION));
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, module_exec}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "pcgrelay._libcrypto",
    .m_doc = "The libcrypto that this wheel carries, for the core alone.",
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__libcrypto(void) { return PyModuleDef_Init(&definition); }
