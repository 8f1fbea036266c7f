"""Native only: its contract is `src/_core/frame/record.pxd`. Nothing of it is visible from Python."""
