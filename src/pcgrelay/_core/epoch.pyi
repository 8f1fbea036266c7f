"""Native only: its contract is `src/_core/epoch.pxd`. Nothing of it is visible from Python."""
