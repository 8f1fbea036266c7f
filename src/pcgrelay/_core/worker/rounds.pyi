"""Native only: its contract is `src/_core/worker/rounds.pxd`. Nothing of it is visible from Python."""
