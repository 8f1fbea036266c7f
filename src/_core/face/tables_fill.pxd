# From the rows of `publish` (core.pyi) to a snapshot of service tables.
from pcgrelay._core.stream.service_tables cimport Tables


# Make a snapshot with one reference. ValueError: a row is wrong; the text says how.
cdef Tables* tables_fill(exports, imports, grants) except NULL
