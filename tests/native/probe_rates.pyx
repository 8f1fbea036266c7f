"""Face of rates of services for tests: workers with clocks of their own that share the limits of one node."""
cimport cython
from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from pcgrelay._core.base.stats cimport Bounds
from pcgrelay._core.edge.rates cimport rates_from_socket, rates_have_room, rates_to_socket
from pcgrelay._core.face.bounds cimport bounds_set
from pcgrelay._core.link.shard cimport Shard
from pcgrelay._core.stream.stream cimport Setup, Stream


# What __dealloc__ needs must still be there.
@cython.no_gc_clear
cdef class Rates:
    """workers: how many; all have the time that `at` has set for each of them."""

    cdef Bounds* bounds
    cdef Shard* shards
    cdef uint32_t workers

    def __cinit__(self, *, workers: int = 1) -> None:
        cdef uint32_t i
        self.workers = workers
        self.bounds = <Bounds*>calloc(1, sizeof(Bounds))
        self.shards = <Shard*>calloc(self.workers, sizeof(Shard))
        if self.bounds == NULL or self.shards == NULL:
            raise MemoryError
        for i in range(self.workers):
            self.shards[i].bounds = self.bounds

    def __dealloc__(self):
        free(self.shards)
        free(self.bounds)

    def set(self, *, imports: dict | None = None, exports: dict | None = None) -> None:
        """Set rates, by the number of the service."""
        rows = [[(number, 0, 0, 0, 0, 0, rate) for number, rate in (each or {}).items()] for each in (imports, exports)]
        bounds_set(self.bounds, rows[0], rows[1], 0, (0, 0))

    @property
    def rated(self) -> int:
        return self.bounds.rated

    def at(self, now_us: int, worker: int = 0) -> None:
        """Set the time of a worker."""
        self.shards[worker].now_us = now_us

    def spend(self, number: int, n: int, *, is_import: bool = True, from_socket: bool = True, worker: int = 0,
              shadow: bool = False, times: int = 1) -> int:
        """How many of so many datagrams of n bytes each are within the rate of a service, without the GIL."""
        cdef Stream stream
        cdef Setup setup
        cdef Shard* shard = &self.shards[worker]
        cdef uint32_t length = n
        cdef uint32_t most = times
        cdef uint32_t passed = 0
        cdef uint32_t _
        cdef bint outward = from_socket
        memset(&stream, 0, sizeof(stream))
        memset(&setup, 0, sizeof(setup))
        stream.number = number
        stream.opener = is_import
        stream.setup = &setup if shadow else NULL
        setup.shadow = 1
        with nogil:
            for _ in range(most):
                passed += rates_from_socket(shard, &stream, length) if outward \
                    else rates_to_socket(shard, &stream, length)
        return passed

    def has_room(self, number: int, n: int) -> bool:
        return rates_have_room(&self.shards[0], number, n)
