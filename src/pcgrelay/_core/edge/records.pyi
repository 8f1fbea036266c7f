"""Native only: its contract is `src/_core/edge/records.pxd`. Nothing of it is visible from Python."""
