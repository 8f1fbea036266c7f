"""Native only: its contract is `src/_core/link/shard.pxd`. Nothing of it is visible from Python."""
