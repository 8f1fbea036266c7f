"""What the rungs inside the core share: rounds, and a link in memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from benches.settings import GATEWAY_CPU, chosen


@pytest.fixture(scope="session", autouse=True)
def _on_one_processor() -> None:
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {GATEWAY_CPU})


@pytest.fixture
def rounds(benchmark: Any) -> Callable[..., None]:
    """Measure `run`, which does `count` things at once, after `prepare`, which is not measured."""

    def measure(run: Callable[[], object], *, prepare: Callable[[], object] = lambda: None, **facts: object) -> None:
        benchmark.extra_info.update(facts)
        # The first rounds fill caches and are not measured.
        benchmark.pedantic(run, setup=prepare, rounds=chosen().in_core_rounds, warmup_rounds=3)

    return measure
