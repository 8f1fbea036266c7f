"""Native only: its contract is `src/_core/worker/udp_io.pxd`. Nothing of it is visible from Python."""
