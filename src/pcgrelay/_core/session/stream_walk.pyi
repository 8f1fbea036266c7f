"""Native only: its contract is `src/_core/session/stream_walk.pxd`. Nothing of it is visible from Python."""
