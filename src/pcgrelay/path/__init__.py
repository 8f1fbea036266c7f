"""Paths: the ends at an edge, what a relay forwards, and the labels of both."""
