"""Tests send signals to what they start. It meets them the same way wherever the tests themselves run."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ENDING = [signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM]
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("number", ENDING)
def test_a_child_ends_by_each_signal(number: signal.Signals) -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        child.send_signal(number)
        assert child.wait(timeout=30) == -number


def test_so_it_does_where_they_are_ignored_and_blocked() -> None:
    def deaf() -> None:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)

    test = f"{__file__}::{test_a_child_ends_by_each_signal.__name__}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    answer = subprocess.run(command, cwd=ROOT, preexec_fn=deaf, capture_output=True, text=True, check=False, timeout=90)
    assert answer.returncode == 0, answer.stdout
