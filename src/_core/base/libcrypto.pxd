# What the core uses of OpenSSL's libcrypto (3.0 or later), declared once. crypto_calls.h says where it comes from.
#
# A module that calls any of it runs crypto_bind() at its top: in a wheel with a libcrypto of its own that fetches the
# table of these functions, or raises ImportError; in any other build it is nothing. tests/source holds them to it.
from libc.stdint cimport uint8_t


cdef extern from "base/crypto_calls.h":
    enum:
        CRYPTO_IS_BUNDLED
    int crypto_bind() except -1


cdef extern from "base/crypto_calls.h" nogil:
    ctypedef struct EVP_CIPHER:
        pass
    ctypedef struct EVP_CIPHER_CTX:
        pass
    ctypedef struct EVP_MD:
        pass
    enum:
        EVP_CTRL_AEAD_GET_TAG
        EVP_CTRL_AEAD_SET_TAG

    EVP_CIPHER* EVP_CIPHER_fetch(void* library, const char* name, const char* properties)
    void EVP_CIPHER_free(EVP_CIPHER* cipher)
    EVP_CIPHER_CTX* EVP_CIPHER_CTX_new()
    void EVP_CIPHER_CTX_free(EVP_CIPHER_CTX* ctx)
    int EVP_CipherInit_ex2(EVP_CIPHER_CTX* ctx, const EVP_CIPHER* cipher, const uint8_t* key, const uint8_t* iv,
                           int encrypt, const void* params)
    int EVP_CipherUpdate(EVP_CIPHER_CTX* ctx, uint8_t* out, int* out_len, const uint8_t* data, int n)
    int EVP_CipherFinal_ex(EVP_CIPHER_CTX* ctx, uint8_t* out, int* out_len)
    int EVP_CIPHER_CTX_ctrl(EVP_CIPHER_CTX* ctx, int kind, int n, void* data)
    const EVP_MD* EVP_sha256()
    uint8_t* HMAC(const EVP_MD* md, const void* key, int key_len, const uint8_t* data, size_t n, uint8_t* out,
                  unsigned int* out_len)
    void OPENSSL_cleanse(void* data, size_t n)
    int CRYPTO_memcmp(const void* a, const void* b, size_t n)
    int OPENSSL_VERSION
    const char* OpenSSL_version(int what)
    void ERR_clear_error()
