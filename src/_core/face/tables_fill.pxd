# From the rows of `publish` (core.pyi) to a snapshot of service tables.
from pcgrelay._core.stream.service_tables cimport Tables


# A new snapshot with one reference; meters: number -> MeterEntry, of the imports with outlets. ValueError: a row is
# wrong, and how.
cdef Tables* tables_fill(exports, imports, grants, dict meters) except NULL
