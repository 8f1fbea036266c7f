"""Native only: its contract is `src/_core/timer.pxd`. Nothing of it is visible from Python."""
