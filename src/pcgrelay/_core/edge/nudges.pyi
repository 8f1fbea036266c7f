"""Native only: its contract is `src/_core/edge/nudges.pxd`. Nothing of it is visible from Python."""
