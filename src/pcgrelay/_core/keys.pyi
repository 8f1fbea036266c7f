"""Native only: its contract is `src/_core/keys.pxd`. Nothing of it is visible from Python."""
