"""Native only: its contract is `src/_core/cursor.pxd`. Nothing of it is visible from Python."""
