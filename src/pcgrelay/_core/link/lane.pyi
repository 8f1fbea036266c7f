"""Native only: its contract is `src/_core/link/lane.pxd`. Nothing of it is visible from Python."""
