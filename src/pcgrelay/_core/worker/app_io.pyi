"""Native only: its contract is `src/_core/worker/app_io.pxd`. Nothing of it is visible from Python."""
