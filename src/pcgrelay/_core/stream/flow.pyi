"""Native only: its contract is `src/_core/stream/flow.pxd`. Nothing of it is visible from Python."""
