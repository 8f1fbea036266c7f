"""Native only: its contract is `src/_core/aead.pxd`. Nothing of it is visible from Python."""
