"""Native only: its contract is `src/_core/worker/sockets.pxd`. Nothing of it is visible from Python."""
