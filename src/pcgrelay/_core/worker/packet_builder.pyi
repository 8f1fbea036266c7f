"""Native only: its contract is `src/_core/worker/packet_builder.pxd`. Nothing of it is visible from Python."""
