"""What takes long and is counted, not asserted: simulations of deciders over many seeds."""
