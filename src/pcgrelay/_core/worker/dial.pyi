"""Native only: its contract is `src/_core/worker/dial.pxd`. Nothing of it is visible from Python."""
