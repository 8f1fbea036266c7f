"""What all tests share: the loop is uvloop, as in production, and each run says how to repeat it."""

import random
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import hypothesis
import pytest
import uvloop

# Nothing is remembered between runs: a run is repeated by its seed, and what it found becomes a test.
hypothesis.settings.register_profile("pcgrelay", database=None, deadline=None, print_blob=True)
hypothesis.settings.load_profile("pcgrelay")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    # A new seed for each run, chosen here so that it can be printed; workers of xdist inherit it.
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.getrandbits(32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"repeat this run with --hypothesis-seed={config.option.hypothesis_seed}"
