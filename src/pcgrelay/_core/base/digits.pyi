"""Native only: its contract is `src/_core/base/tlv.pxd`. Nothing of it is visible from Python."""
