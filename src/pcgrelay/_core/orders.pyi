"""Native only: its contract is `src/_core/orders.pxd`. Nothing of it is visible from Python."""
