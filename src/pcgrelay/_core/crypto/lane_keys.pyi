"""Native only: its contract is `src/_core/crypto/lane_keys.pxd`. Nothing of it is visible from Python."""
