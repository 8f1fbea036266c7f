"""Live readers: each asks the machine, the files or the running node, and fills the facts of one test.

Readers change nothing and leave nothing behind. What they offer to a listener is an ordinary handshake of an ordinary
stranger, at most five in a second, from the loopback address SOURCE, by which the log of the node shows them.
"""
