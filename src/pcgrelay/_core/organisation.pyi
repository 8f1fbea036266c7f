"""Native only: its contract is `src/_core/pace.pxd`. Nothing of it is visible from Python."""
