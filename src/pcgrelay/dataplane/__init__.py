"""The interface between control plane and core: typed calls down, typed events up."""
