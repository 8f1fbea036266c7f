"""Native only: its contract is `src/_core/stream/flow_datagrams.pxd`. Nothing of it is visible from Python."""
