"""Native only: its contract is `src/_core/edge/targets.pxd`. Nothing of it is visible from Python."""
