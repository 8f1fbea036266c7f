"""Native only: its contract is `src/_core/queue.pxd`. Nothing of it is visible from Python."""
