"""Paths: their ends at an edge, the paths that a relay forwards, and the labels of both."""
