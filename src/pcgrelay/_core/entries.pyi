"""Native only: its contract is `src/_core/entries.pxd`. Nothing of it is visible from Python."""
