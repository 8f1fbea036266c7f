"""The core, as the control plane sees it: calls down, events up."""
