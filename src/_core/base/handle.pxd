# What the worker's event loop knows of a descriptor. It is the first field of everything that has one.
from libc.stdint cimport uint16_t


cdef enum:
    HANDLE_MAILBOX = 1
    HANDLE_LISTENER = 2
    HANDLE_LANE = 3
    HANDLE_STREAM = 4
    HANDLE_DIAL = 5

cdef struct Handle:
    uint16_t kind
    uint16_t shared             # another process was given a copy: to close this one alone ends nothing
    int fd                      # owned; -1: none
