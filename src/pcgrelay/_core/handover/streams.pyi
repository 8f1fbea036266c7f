"""Native only: its contract is `src/_core/handover/streams.pxd`. Nothing of it is visible from Python."""
