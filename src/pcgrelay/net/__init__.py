"""Sockets, name resolution, back-off and rate limits."""
