"""Native only: its contract is `src/_core/candidate.pxd`. Nothing of it is visible from Python."""
