"""Native only: its contract is `src/_core/crew.pxd`. Nothing of it is visible from Python."""
