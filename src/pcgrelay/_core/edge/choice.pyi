"""Native only: its contract is `src/_core/edge/choice.pxd`. Nothing of it is visible from Python."""
