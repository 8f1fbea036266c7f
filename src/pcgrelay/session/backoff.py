"""How long to wait before trying again: exponential, capped, with full jitter, for ever."""

from __future__ import annotations

import random

FIRST_MS = 200
# A stream waits 30 s for a way (`path_wait_ms`, unless told): a neighbour that is back must be found well within it.
CAP_MS = 3_000
# What has lasted this long was well; the next failure starts from the beginning.
STEADY_MS = 10_000

_random = random.SystemRandom()


def backoff_ms(attempt: int, first_ms: int = FIRST_MS, cap_ms: int = CAP_MS) -> float:
    """The wait before the attempt of that number, from 1: anywhere up to the bound, so that a crowd spreads out."""
    return _random.uniform(0, min(cap_ms, first_ms * 2 ** min(attempt - 1, 20)))
