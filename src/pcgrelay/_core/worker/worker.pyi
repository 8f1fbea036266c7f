"""Native only: its contract is `src/_core/worker/worker.pxd`. Nothing of it is visible from Python."""
