"""Native only: its contract is `src/_core/handover/udp_lanes.pxd`. Nothing of it is visible from Python."""
