"""Native only: its contract is `src/_core/edge/clients.pxd`. Nothing of it is visible from Python."""
