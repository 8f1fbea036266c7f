"""Native only: its contract is `src/_core/flow.pxd`. Nothing of it is visible from Python."""
