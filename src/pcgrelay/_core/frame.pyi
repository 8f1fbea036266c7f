"""Native only: its contract is `src/_core/frame.pxd`. Nothing of it is visible from Python."""
