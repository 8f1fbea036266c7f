"""Native only: its contract is `src/_core/face/tables_fill.pxd`. Nothing of it is visible from Python."""
