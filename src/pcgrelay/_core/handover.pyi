"""Native only: its contract is `src/_core/handover.pxd`. Nothing of it is visible from Python."""
