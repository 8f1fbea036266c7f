"""Native only: its contract is `src/_core/worker/direct_io.pxd`. Nothing of it is visible from Python."""
