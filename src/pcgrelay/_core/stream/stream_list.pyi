"""Native only: its contract is `src/_core/stream/stream_list.pxd`. Nothing of it is visible from Python."""
