"""Records of a hand-over."""
