"""Native only: its contract is `src/_core/facts.pxd`. Nothing of it is visible from Python."""
