"""Sockets, names, and how often something may be tried."""
