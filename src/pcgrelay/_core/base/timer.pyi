"""Native only: its contract is `src/_core/base/timer.pxd`. Nothing of it is visible from Python."""
