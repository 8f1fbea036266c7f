"""Native only: its contract is `src/_core/link/link.pxd`. Nothing of it is visible from Python."""
