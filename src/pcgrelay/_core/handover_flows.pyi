"""Native only: its contract is `src/_core/handover_flows.pxd`. Nothing of it is visible from Python."""
