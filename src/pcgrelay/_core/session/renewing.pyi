"""Native only: its contract is `src/_core/session/renewing.pxd`. Nothing of it is visible from Python."""
