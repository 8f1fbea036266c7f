"""Native only: its contract is `src/_core/crypto/aead.pxd`. Nothing of it is visible from Python."""
