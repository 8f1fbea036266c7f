"""Native only: its contract is `src/_core/worker.pxd`. Nothing of it is visible from Python."""
