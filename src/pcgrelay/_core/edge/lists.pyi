"""Native only: its contract is `src/_core/edge/lists.pxd`. Nothing of it is visible from Python."""
