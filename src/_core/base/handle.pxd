# What epoll refers to: the kind and descriptor of an object. It is the first field of every object that has one.
from libc.stdint cimport uint16_t


cdef enum:
    HANDLE_MAILBOX = 1
    HANDLE_LISTENER = 2
    HANDLE_LANE = 3
    HANDLE_STREAM = 4
    HANDLE_DIAL = 5

cdef struct Handle:
    uint16_t kind
    uint16_t shared             # another process has a copy: closing this descriptor alone does not end the connection
    int fd                      # owned; -1: none
