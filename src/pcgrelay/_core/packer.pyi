"""Native only: its contract is `src/_core/packer.pxd`. Nothing of it is visible from Python."""
