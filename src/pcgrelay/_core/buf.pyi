"""Native only: its contract is `src/_core/buf.pxd`. Nothing of it is visible from Python."""
