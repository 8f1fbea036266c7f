/* What the core calls of libcrypto. By default these are OpenSSL's own functions, linked as any library is.
 *
 * With PCG_CRYPTO_TABLE (a build with PCGRELAY_LIBCRYPTO=wheel) they are macros of the same names, which call through a
 * table. One private module, pcgrelay._libcrypto, has a libcrypto of its own, hidden from everything else in the
 * process, and gives the table in a capsule; every module of the core that calls libcrypto fetches it when it is
 * imported, by crypto_bind(). After that it never changes. docs/decisions/0013 says why. */
#ifndef PCGRELAY_CRYPTO_CALLS_H
#define PCGRELAY_CRYPTO_CALLS_H

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#ifndef PCG_CRYPTO_TABLE

#define CRYPTO_IS_BUNDLED 0
#define crypto_bind() 0

#else

#include <Python.h>
#include <stddef.h>

#define CRYPTO_IS_BUNDLED 1
#define CRYPTO_MODULE "pcgrelay._libcrypto"
#define CRYPTO_CAPSULE CRYPTO_MODULE ".table"

/* All calls, by the name that libcrypto.pxd declares; tests/source holds the two against each other. */
#define CRYPTO_CALLS(CALL)                                                                                             \
    CALL(EVP_CIPHER_fetch) CALL(EVP_CIPHER_free) CALL(EVP_CIPHER_CTX_new) CALL(EVP_CIPHER_CTX_free)                    \
    CALL(EVP_CipherInit_ex2) CALL(EVP_CipherUpdate) CALL(EVP_CipherFinal_ex) CALL(EVP_CIPHER_CTX_ctrl)                 \
    CALL(EVP_sha256) CALL(HMAC) CALL(OPENSSL_cleanse) CALL(CRYPTO_memcmp) CALL(OpenSSL_version)                        \
    CALL(ERR_clear_error)

#define CRYPTO_FIELD(name) __typeof__(&name) name##_;
/* size comes first, so that a module of another version is recognised whatever follows. */
struct crypto_table { size_t size; CRYPTO_CALLS(CRYPTO_FIELD) };
#undef CRYPTO_FIELD

/* The module that fills the table calls nothing through it. */
#ifndef PCG_CRYPTO_TABLE_FILLED_HERE

static const struct crypto_table *crypto_table_bound __attribute__((unused));

/* Fetch the table, with the GIL held. 0, or -1 with an ImportError: there is no such module, or one of another build. */
__attribute__((unused)) static int crypto_bind(void) {
    /* Of a capsule's name Python imports the first part alone. */
    PyObject *module = PyImport_ImportModule(CRYPTO_MODULE);
    const struct crypto_table *table = module == NULL ? NULL : PyCapsule_Import(CRYPTO_CAPSULE, 0);
    Py_XDECREF(module);
    if (table == NULL || table->size != sizeof *table) {
        PyErr_SetString(PyExc_ImportError, table == NULL
            ? CRYPTO_MODULE " is missing or broken; install pcgrelay again"
            : CRYPTO_MODULE " is of another version; install pcgrelay again");
        return -1;
    }
    crypto_table_bound = table;
    return 0;
}

#define EVP_CIPHER_fetch (crypto_table_bound->EVP_CIPHER_fetch_)
#define EVP_CIPHER_free (crypto_table_bound->EVP_CIPHER_free_)
#define EVP_CIPHER_CTX_new (crypto_table_bound->EVP_CIPHER_CTX_new_)
#define EVP_CIPHER_CTX_free (crypto_table_bound->EVP_CIPHER_CTX_free_)
#define EVP_CipherInit_ex2 (crypto_table_bound->EVP_CipherInit_ex2_)
#define EVP_CipherUpdate (crypto_table_bound->EVP_CipherUpdate_)
#define EVP_CipherFinal_ex (crypto_table_bound->EVP_CipherFinal_ex_)
#define EVP_CIPHER_CTX_ctrl (crypto_table_bound->EVP_CIPHER_CTX_ctrl_)
#define EVP_sha256 (crypto_table_bound->EVP_sha256_)
#define HMAC (crypto_table_bound->HMAC_)
#define OPENSSL_cleanse (crypto_table_bound->OPENSSL_cleanse_)
#define CRYPTO_memcmp (crypto_table_bound->CRYPTO_memcmp_)
#define OpenSSL_version (crypto_table_bound->OpenSSL_version_)
#define ERR_clear_error (crypto_table_bound->ERR_clear_error_)

#endif
#endif
#endif
