"""Native only: its contract is `src/_core/credit.pxd`. Nothing of it is visible from Python."""
