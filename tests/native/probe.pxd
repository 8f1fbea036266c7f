# What the faces for tests share: how a refusal becomes an exception, and a key that Python may hold.
from libc.stdint cimport uint8_t

from pcgrelay._core.crypto.aead cimport Aead
from pcgrelay._core.base.result cimport Result


# Raise Refusal unless the answer is RESULT_OK.
cdef int check(Result answer) except -1

# The bytes of data, which must be n of them.
cdef const uint8_t* exactly(bytes data, Py_ssize_t n) except NULL

# A key: its own, or one that lives in another object, which it keeps alive.
cdef class Key:
    cdef Aead own
    cdef Aead* at
    cdef object owner
