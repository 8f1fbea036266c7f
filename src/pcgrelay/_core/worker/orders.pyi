"""Native only: its contract is `src/_core/worker/orders.pxd`. Nothing of it is visible from Python."""
