"""Native only: its contract is `src/_core/base/ports.pxd`. Nothing of it is visible from Python."""
