"""Native only: its contract is `src/_core/crypto/epoch.pxd`. Nothing of it is visible from Python."""
