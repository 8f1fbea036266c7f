"""Native only: its contract is `src/_core/frame/pace.pxd`. Nothing of it is visible from Python."""
