"""Native only: its contract is `src/_core/session/datagrams.pxd`. Nothing of it is visible from Python."""
