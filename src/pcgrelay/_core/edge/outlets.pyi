"""Native only: its contract is `src/_core/edge/outlets.pxd`. Nothing of it is visible from Python."""
