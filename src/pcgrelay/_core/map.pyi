"""Native only: its contract is `src/_core/map.pxd`. Nothing of it is visible from Python."""
