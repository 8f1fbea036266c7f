"""Native only: its contract is `src/_core/handover/keys.pxd`. Nothing of it is visible from Python."""
