"""Native only: its contract is `src/_core/edge/accept.pxd`. Nothing of it is visible from Python."""
