"""Native only: its contract is `src/_core/crypto/renewal.pxd`. Nothing of it is visible from Python."""
