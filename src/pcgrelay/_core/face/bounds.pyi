"""Native only: its contract is `src/_core/face/bounds.pxd`. Nothing of it is visible from Python."""
