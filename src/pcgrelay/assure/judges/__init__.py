"""Judges: pure functions of facts and parameters. Nothing here opens a file, a socket or a clock."""
