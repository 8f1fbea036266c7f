"""Native only: its contract is `src/_core/door.pxd`. Nothing of it is visible from Python."""
