"""Native only: its contract is `src/_core/session/candidate.pxd`. Nothing of it is visible from Python."""
