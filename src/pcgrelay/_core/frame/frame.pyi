"""Native only: its contract is `src/_core/frame/frame.pxd`. Nothing of it is visible from Python."""
