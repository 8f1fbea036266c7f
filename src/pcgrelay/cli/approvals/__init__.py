"""The commands about changes that have to be approved."""
