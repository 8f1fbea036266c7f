"""Native only: its contract is `src/_core/route.pxd`. Nothing of it is visible from Python."""
