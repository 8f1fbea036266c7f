"""Native only: its contract is `src/_core/face/counters.pxd`. Nothing of it is visible from Python."""
