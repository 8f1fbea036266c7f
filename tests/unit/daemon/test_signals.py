"""Signals to a node, also those that come while its event loop stands still."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal, subprocess, sys
import uvloop
from pcgrelay.daemon.signals import Signals

NUMBER = getattr(signal, sys.argv[1])

async def reload():
    print("reloaded", flush=True)

async def main():
    signals = Signals()
    task = asyncio.create_task(signals.reload_on_hangup(reload))
    await asyncio.sleep(0)
    os.kill(os.getpid(), NUMBER)
    # No turn of the loop since.
    print("stop" if signals.has_stop else "go on", flush=True)
    other = subprocess.Popen(["sleep", "60"])
    signals.send_on(other.pid)
    print("other", -other.wait(20), flush=True)
    other.kill()
    # The loop acts upon it too, where there is no hand-over.
    if signals.has_stop:
        await asyncio.wait_for(signals.stopping.acquire(), 20)
        print("stopping", flush=True)
    else:
        while signals._hangups > signals._reloads:
            await asyncio.sleep(0.01)
        other = subprocess.Popen(["sleep", "60"])
        signals.send_on(other.pid)
        other.kill()
        print("later", -other.wait(20), flush=True)
    task.cancel()

uvloop.run(main())
"""


def said(*names: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM, *names]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("SIGINT", 2)])
def test_a_signal_to_stop_is_known_at_once_and_sent_on(name: str, number: int) -> None:
    assert said(name) == ["stop", f"other {number}", "stopping"]


def test_a_signal_to_reload_is_sent_on_until_a_reload_was_made_for_it() -> None:
    assert said("SIGHUP") == ["go on", "other 1", "reloaded", "later 9"]
