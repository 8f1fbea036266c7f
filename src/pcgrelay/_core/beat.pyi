"""Native only: its contract is `src/_core/beat.pxd`. Nothing of it is visible from Python."""
