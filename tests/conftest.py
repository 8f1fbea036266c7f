"""What all tests share: the loop is uvloop, as in production, and each run says how to repeat it."""

import gc
import os
import random
import signal
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping

import hypothesis
import pytest
import uvloop

# What nohup, a shell without job control or a CI may have had us ignore or block, and tests send to what they start.
SIGNALS_OF_CHILDREN = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGCHLD, signal.SIGTSTP, signal.SIGCONT,
)  # fmt: skip

# What a terminal or a CI may have told programs about their looks. Tests say it to what they start, if they mean it.
LOOKS = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE")

# Nothing is remembered between runs: a run is repeated by its seed, and what it found becomes a test.
hypothesis.settings.register_profile("thorough", database=None, deadline=None, print_blob=True)
# What `make test` has of each property that does not say how many it wants; `make test-all` has them all.
hypothesis.settings.register_profile("pcgrelay", hypothesis.settings.get_profile("thorough"), max_examples=50)
hypothesis.settings.load_profile("pcgrelay")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


def meet_signals() -> None:
    """Have children meet every signal by its default, whatever this process was told to ignore or to block.

    This process goes on ignoring it, by a handler that does nothing: unlike SIG_IGN a handler is not inherited.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS_OF_CHILDREN)
    for number in SIGNALS_OF_CHILDREN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    meet_signals()
    for name in LOOKS:
        os.environ.pop(name, None)
    # A new seed for each run, chosen here so that it can be printed; workers of xdist inherit it.
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(random.getrandbits(32))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the collector need not look at it again and again, and tests call it."""
    gc.collect()
    gc.freeze()


def pytest_report_header(config: pytest.Config) -> str:
    return f"repeat this run with --hypothesis-seed={config.option.hypothesis_seed}"
