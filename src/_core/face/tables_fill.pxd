# From the rows of core.pyi's publish to a snapshot of route.
from pcgrelay._core.stream.service_tables cimport Tables


# A new snapshot with one reference. ValueError: a row is wrong, and how.
cdef Tables* tables_fill(exports, imports, grants) except NULL
