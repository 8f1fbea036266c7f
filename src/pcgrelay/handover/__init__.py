"""Records of what the control plane of a node leaves to the process that takes its place."""
