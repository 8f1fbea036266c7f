"""Native only: its contract is `src/_core/gauge.pxd`. Nothing of it is visible from Python."""
