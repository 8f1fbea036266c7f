"""Native only: its contract is `src/_core/bundle.pxd`. Nothing of it is visible from Python."""
