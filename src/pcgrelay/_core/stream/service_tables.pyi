"""Native only: its contract is `src/_core/stream/service_tables.pxd`. Nothing of it is visible from Python."""
