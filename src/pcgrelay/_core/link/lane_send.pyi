"""Native only: its contract is `src/_core/link/lane_send.pxd`. Nothing of it is visible from Python."""
