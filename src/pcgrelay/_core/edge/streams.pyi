"""Native only: its contract is `src/_core/edge/streams.pxd`. Nothing of it is visible from Python."""
