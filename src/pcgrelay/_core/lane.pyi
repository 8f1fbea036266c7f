"""Native only: its contract is `src/_core/lane.pxd`. Nothing of it is visible from Python."""
