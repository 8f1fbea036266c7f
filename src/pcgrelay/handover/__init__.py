"""Records of a node's control plane that are handed over to a new process."""
