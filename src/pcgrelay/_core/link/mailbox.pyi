"""Native only: its contract is `src/_core/link/mailbox.pxd`. Nothing of it is visible from Python."""
