"""Native only: its contract is `src/_core/dial.pxd`. Nothing of it is visible from Python."""
