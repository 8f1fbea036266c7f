"""How long hypothesis goes on where it takes long: machines that do anything in any order, worlds of real sockets."""

from hypothesis import settings


def examples(most: int) -> int:
    """So many in `make test-all`, and half of them in `make test`: the profiles are in tests/conftest.py."""
    return max(1, most * settings().max_examples // 100)


MACHINE = settings(max_examples=examples(40), stateful_step_count=40)
