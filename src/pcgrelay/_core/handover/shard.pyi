"""Native only: its contract is `src/_core/handover/shard.pxd`. Nothing of it is visible from Python."""
