"""Native only: its contract is `src/_core/session/session.pxd`. Nothing of it is visible from Python."""
