"""What the store of a fleet needs of the daemon: facts for the report, how the process is replaced, and an answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

from pcgrelay.admin.condition import Condition
from pcgrelay.admin.fleet_answers import FLEET_PATH
from pcgrelay.admin.http import Answer, json_answer
from pcgrelay.admin.server import Query
from pcgrelay.errors import RunError
from pcgrelay.gateway.fleet import Facts
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.views.fleet import fleet_answer
from pcgrelay.views.status import node_status

# Longer than all waits of a hand-over together (daemon/handover).
UPGRADE_S = 90.0
LOOK_S = 0.1

__all__ = ["FLEET_PATH", "attach_fleet", "fleet_shown"]


def attach_fleet(node: Node) -> None:
    """Tell the node's part in the fleet what it cannot know itself. To be called before the node begins."""
    node.fleet.facts = lambda: _facts(node)
    node.fleet.upgrade = lambda: upgrade_self(node)


def fleet_shown(node: Node, query: Query) -> Answer:
    """All nodes of the realm that the store has."""
    answer = fleet_answer(node)
    return json_answer(answer, 409 if answer.reason else 200)


def _facts(node: Node) -> Facts:
    status = node_status(node)
    streams = len(node.role.paths) if isinstance(node.role, RelayRole) else node.plane.streams()
    return Facts(status.condition, Condition(status.condition).takes_new_work, streams)


async def upgrade_self(node: Node) -> str:
    """Start the process that takes this one's place; return why it did not, for else this one is gone.

    As `pcgrelay upgrade` does, and within the control group of this process.
    """
    config = node.local.written
    isolated = ["-I"] if sys.flags.isolated else []
    command = [sys.executable, *isolated, "-m", "pcgrelay.cli", "run", "-c", str(config.path)]

    def launch() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command, "--take-over", "--detached"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    try:
        # Its workers would inherit the lowered priority of this thread.
        process = await asyncio.wrap_future(node.plane.at_first_priority(launch))
    except OSError as error:
        raise RunError(f"The new process cannot be started ({error.strerror}); the old one goes on.") from None
    deadline = time.monotonic() + UPGRADE_S
    # Polled: an event loop that is told of it would end the process when this one goes.
    while process.poll() is None and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)
    if process.poll() is None:
        process.kill()
        await asyncio.to_thread(process.wait)
        return f"the new process has not taken over within {UPGRADE_S:g} s; the old one goes on"
    return f"the new process ended with exit code {process.returncode}, and its log says why; the old one goes on"
