"""Native only: its contract is `src/_core/port.pxd`. Nothing of it is visible from Python."""
