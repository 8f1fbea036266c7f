"""Native only: its contract is `src/_core/link/relay.pxd`. Nothing of it is visible from Python."""
