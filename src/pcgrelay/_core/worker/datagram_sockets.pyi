"""Native only: its contract is `src/_core/worker/datagram_sockets.pxd`. Nothing of it is visible from Python."""
