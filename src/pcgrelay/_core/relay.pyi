"""Native only: its contract is `src/_core/relay.pxd`. Nothing of it is visible from Python."""
