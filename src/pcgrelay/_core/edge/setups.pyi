"""Native only: its contract is `src/_core/edge/setups.pxd`. Nothing of it is visible from Python."""
