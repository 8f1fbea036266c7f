"""Native only: its contract is `src/_core/loop.pxd`. Nothing of it is visible from Python."""
