"""Native only: its contract is `src/_core/edge/sessions.pxd`. Nothing of it is visible from Python."""
