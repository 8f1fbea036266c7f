"""Native only: its contract is `src/_core/edge/proxy_header.pxd`. Nothing of it is visible from Python."""
