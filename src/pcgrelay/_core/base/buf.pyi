"""Native only: its contract is `src/_core/base/buf.pxd`. Nothing of it is visible from Python."""
