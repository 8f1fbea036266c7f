# Counts of references that several threads hold.
cdef extern from "atomics.h" nogil:
    int atomic_add(int* value, int n)   # answers the new value
