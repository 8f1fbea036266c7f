"""Native only: its contract is `src/_core/trunk.pxd`. Nothing of it is visible from Python."""
