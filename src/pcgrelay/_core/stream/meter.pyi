"""Native only: its contract is `src/_core/stream/meter.pxd`. Nothing of it is visible from Python."""
