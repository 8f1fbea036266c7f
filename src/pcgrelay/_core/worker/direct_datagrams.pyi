"""Native only: its contract is `src/_core/worker/direct_datagrams.pxd`. Nothing of it is visible from Python."""
