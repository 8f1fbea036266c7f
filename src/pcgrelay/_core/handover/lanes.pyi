"""Native only: its contract is `src/_core/handover/lanes.pxd`. Nothing of it is visible from Python."""
