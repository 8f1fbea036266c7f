# What the worker's event loop knows of a descriptor. It is the first field of everything that has one.
cdef enum:
    HANDLE_MAILBOX = 1
    HANDLE_LISTENER = 2
    HANDLE_LANE = 3
    HANDLE_STREAM = 4

cdef struct Handle:
    int kind
    int fd                      # owned; -1: none
