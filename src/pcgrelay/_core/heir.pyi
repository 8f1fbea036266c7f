"""Native only: its contract is `src/_core/heir.pxd`. Nothing of it is visible from Python."""
