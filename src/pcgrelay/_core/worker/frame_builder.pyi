"""Native only: its contract is `src/_core/worker/frame_builder.pxd`. Nothing of it is visible from Python."""
