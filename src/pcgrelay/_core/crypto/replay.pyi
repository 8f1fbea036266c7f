"""Native only: its contract is `src/_core/crypto/replay.pxd`. Nothing of it is visible from Python."""
