"""Native only: its contract is `src/_core/session.pxd`. Nothing of it is visible from Python."""
