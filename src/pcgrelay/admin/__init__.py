"""The admin interface: what a node tells about itself over its unix socket."""
