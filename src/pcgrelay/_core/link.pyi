"""Native only: its contract is `src/_core/link.pxd`. Nothing of it is visible from Python."""
