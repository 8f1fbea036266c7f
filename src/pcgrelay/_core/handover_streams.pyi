"""Native only: its contract is `src/_core/handover_streams.pxd`. Nothing of it is visible from Python."""
