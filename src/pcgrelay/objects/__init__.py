"""Signed objects that travel over links, from neighbour to neighbour (docs/protocol.md, 9.10)."""
