# What epoll refers to: the kind and descriptor of an object. It is the first field of every object that has one.
from libc.stdint cimport uint16_t, uint8_t

from pcgrelay._core.base.ports cimport PortRing


cdef enum:
    HANDLE_MAILBOX = 1
    HANDLE_LISTENER = 2
    HANDLE_LANE = 3
    HANDLE_STREAM = 4
    HANDLE_DIAL = 5
    HANDLE_DATAGRAMS = 6        # the socket of an import of datagrams

cdef struct Handle:
    uint8_t kind
    uint8_t shared              # another process has a copy: closing this descriptor alone does not end the connection
    uint16_t port               # its local port, if it is one of a ring or of an association; 0: not known
    int fd                      # owned; -1: none
    PortRing* ring              # NULL: the system has chosen the port, or there is none
