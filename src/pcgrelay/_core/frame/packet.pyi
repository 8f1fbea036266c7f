"""Native only: its contract is `src/_core/frame/packet.pxd`. Nothing of it is visible from Python."""
