"""The process: from its configuration to its exit."""
