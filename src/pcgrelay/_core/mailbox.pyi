"""Native only: its contract is `src/_core/mailbox.pxd`. Nothing of it is visible from Python."""
