"""One node: the common part of edge and relay, and the two roles."""
