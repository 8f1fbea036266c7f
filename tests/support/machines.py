"""How long the machines of hypothesis run that do anything in any order."""

from hypothesis import settings

MACHINE = settings(max_examples=40, stateful_step_count=40)
