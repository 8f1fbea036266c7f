"""Native only: its contract is `src/_core/worker/event_loop.pxd`. Nothing of it is visible from Python."""
