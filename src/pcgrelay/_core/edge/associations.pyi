"""Native only: its contract is `src/_core/edge/associations.pxd`. Nothing of it is visible from Python."""
