"""Native only: its contract is `src/_core/sender.pxd`. Nothing of it is visible from Python."""
