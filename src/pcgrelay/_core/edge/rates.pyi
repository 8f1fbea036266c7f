"""Native only: its contract is `src/_core/edge/rates.pxd`. Nothing of it is visible from Python."""
