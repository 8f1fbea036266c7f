"""Native only: its contract is `src/_core/base/queue.pxd`. Nothing of it is visible from Python."""
