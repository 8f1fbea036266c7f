"""Native only: its contract is `src/_core/worker/handover.pxd`. Nothing of it is visible from Python."""
