"""Native only: its contract is `src/_core/link/udp_lane.pxd`. Nothing of it is visible from Python."""
