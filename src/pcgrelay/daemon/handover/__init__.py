"""A running process hands all that it has to another one."""
