"""Native only: its contract is `src/_core/link/gauge.pxd`. Nothing of it is visible from Python."""
