"""Native only: its contract is `src/_core/edge/limits.pxd`. Nothing of it is visible from Python."""
