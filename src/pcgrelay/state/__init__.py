"""The folder of what outlasts a process: who has it, and its files."""
