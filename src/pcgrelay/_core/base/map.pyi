"""Native only: its contract is `src/_core/base/map.pxd`. Nothing of it is visible from Python."""
