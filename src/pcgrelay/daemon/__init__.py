"""The node's process, from its configuration to its exit."""
