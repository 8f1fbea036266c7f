"""What a piece of work costs the processor, whatever ran in this process before."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Cost:
    """Seconds of the processor, of all threads of this process."""

    seconds = 0.0


@contextmanager
def processor_time() -> Iterator[Cost]:
    """Measure what the block costs, without collections of garbage: they walk over what all tests before have left."""
    cost = Cost()
    gc.disable()
    began = time.process_time()
    try:
        yield cost
    finally:
        cost.seconds = time.process_time() - began
        gc.enable()
