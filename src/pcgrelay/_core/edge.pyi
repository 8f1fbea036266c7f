"""Native only: its contract is `src/_core/edge.pxd`. Nothing of it is visible from Python."""
