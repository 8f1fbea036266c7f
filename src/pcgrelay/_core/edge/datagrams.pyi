"""Native only: its contract is `src/_core/edge/datagrams.pxd`. Nothing of it is visible from Python."""
