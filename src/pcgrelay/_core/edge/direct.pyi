"""Native only: its contract is `src/_core/edge/direct.pxd`. Nothing of it is visible from Python."""
