"""Native only: its contract is `src/_core/tables.pxd`. Nothing of it is visible from Python."""
