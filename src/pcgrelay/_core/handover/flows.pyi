"""Native only: its contract is `src/_core/handover/flows.pxd`. Nothing of it is visible from Python."""
