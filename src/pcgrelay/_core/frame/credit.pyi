"""Native only: its contract is `src/_core/frame/credit.pxd`. Nothing of it is visible from Python."""
