from libc.stdint cimport uint32_t, uint64_t

from pcgrelay._core.handle cimport Handle
from pcgrelay._core.linux cimport epoll_ctl, epoll_event, write


cdef bint worker_watch(Worker* self, Handle* handle, uint32_t events, int op) noexcept nogil:
    cdef epoll_event event
    event.events = events
    event.data.ptr = handle
    return epoll_ctl(self.epoll_fd, op, handle.fd, &event) == 0


cdef void worker_wake(int fd) noexcept nogil:
    cdef uint64_t one = 1
    # A full counter still wakes; any other failure would be a lost descriptor.
    if write(fd, &one, 8) < 0:
        return
