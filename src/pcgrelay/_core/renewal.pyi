"""Native only: its contract is `src/_core/renewal.pxd`. Nothing of it is visible from Python."""
