"""The admin interface: a node's answers over its unix socket."""
