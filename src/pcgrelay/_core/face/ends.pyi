"""Native only: its contract is `src/_core/face/ends.pxd`. Nothing of it is visible from Python."""
