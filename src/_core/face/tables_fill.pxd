# From the rows of `publish` (core.pyi) to a snapshot of service tables.
from libc.stdint cimport uint16_t

from pcgrelay._core.stream.service_tables cimport Tables, Target


# A new snapshot with one reference; meters: number -> MeterEntry, of the imports with outlets. ValueError: a row is
# wrong, and how.
cdef Tables* tables_fill(exports, imports, grants, dict meters) except NULL

# A socket address as the system lays it out: family in the machine's order, port in the network's. ValueError: host is
# neither a numeric address nor, with a slash in front, a path.
cdef fill_target(Target* out, str host, uint16_t port)
