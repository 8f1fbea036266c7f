"""Native only: its contract is `src/_core/record.pxd`. Nothing of it is visible from Python."""
