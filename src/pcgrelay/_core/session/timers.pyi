"""Native only: its contract is `src/_core/session/timers.pxd`. Nothing of it is visible from Python."""
