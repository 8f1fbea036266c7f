"""One thread: its sockets, its turn."""
