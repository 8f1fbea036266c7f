"""pcgrelay drain."""

from __future__ import annotations

import time
from pathlib import Path

import click

from pcgrelay import config
from pcgrelay.admin.answers import DRAIN_PATH, DrainAnswer
from pcgrelay.admin.client import ask
from pcgrelay.cli.root import config_option, json_option
from pcgrelay.errors import RunError
from pcgrelay.output import counted, print_json, say

EPILOG = """\b
Examples:
  pcgrelay drain -c relay-1.toml --wait 60 && systemctl stop pcgrelay
  pcgrelay drain -c relay-1.toml --undo

\b
Exit codes:
   0  the node is empty; with --undo: it takes new work again
   1  it is not empty yet, and goes on draining; or the store of [fleet] is
      silent, and nothing was done
   3  it does not answer
   6  another node of the organisation is being changed; nothing was done
"""
POLL_S = 0.2
# The store of a fleet may be slow to say who holds the lock.
BEGIN_S = 20.0


@click.command(epilog=EPILOG)
@config_option
@click.option(
    "--wait",
    "wait_s",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=30.0,
    show_default=True,
    help="How long to wait until the node is empty.",
)
@click.option("--undo", is_flag=True, help="Take new work again.")
@click.option("--without-lock", is_flag=True, help="Do not ask whether another node is being changed.")
@json_option
def drain(path: Path, wait_s: float, undo: bool, without_lock: bool, as_json: bool) -> int:
    """Move traffic away from a running node before it is stopped.

    Neighbours are notified and send nothing new. Sessions through a relay move to other relays, with their streams. An
    edge closes its imports and lets its streams end. The node keeps running until it is stopped. With [fleet] it holds
    the lock of its organisation until then, or until --undo.
    """
    admin = config.admin_path(path)
    query = "undo=1" if undo else f"wait_ms={int(wait_s * 1000)}{'&without_lock=1' if without_lock else ''}"
    answer = ask(admin, "POST", f"{DRAIN_PATH}?{query}", DrainAnswer, BEGIN_S)
    deadline = time.monotonic() + wait_s
    while not undo and not answer.reason and not answer.empty and time.monotonic() < deadline:
        time.sleep(POLL_S)
        answer = ask(admin, "GET", DRAIN_PATH, DrainAnswer)
    done = not answer.reason and (not answer.draining if undo else answer.empty)
    if as_json:
        print_json(answer)
    elif answer.reason:
        say(f"pcgrelay: {answer.reason}", err=True)
    else:
        click.echo(_sentence(answer))
    return 0 if done else answer.exit_code or RunError.exit_code


def _sentence(answer: DrainAnswer) -> str:
    if not answer.draining:
        return "The node takes new work again."
    if answer.empty:
        return "The node is empty; it can be stopped."
    return (
        f"The node is not empty yet: {counted(answer.streams, 'stream')}, {counted(answer.paths, 'path')}; "
        "it goes on draining."
    )
