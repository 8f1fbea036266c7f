"""A node from its configuration to its exit: start, one line that says so, signals, reload, drain, stop."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from typing import Any

import uvloop

from pcgrelay.admin.server import AdminServer
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import Config
from pcgrelay.daemon.admin_api import admin_handlers
from pcgrelay.daemon.handover.new_process import HandedOver, take_over
from pcgrelay.daemon.handover.old_process import Handover
from pcgrelay.daemon.keeper import Keeper
from pcgrelay.daemon.reload import Reloader
from pcgrelay.dataplane.adapter import Plane, native_core
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import RunError
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.handover import start_restored
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.log.writer import Log
from pcgrelay.model import Role

# By so much the control plane is nicer than the workers: beside one that is busy it has a sixth of a core that they
# share, in which it meets its deadlines, and a worker that wakes has the core at once (docs/performance.md).
NICER = 7
DRAIN_S = 30.0


def run(config: Config, drain_s: float | None = None, *, taking_over: bool = False, detached: bool = False) -> int:
    """Run a node until it is told to stop; answers the exit code. Raises what a person can mend as PcgrelayError.

    drain_s: how long open streams may go on after SIGTERM; unless told, as in the process before, or else DRAIN_S.
    taking_over: in the place of the one that runs. detached: from then on the output goes where that one's went.
    """
    return uvloop.run(_run(config, drain_s, native_core(), taking_over, detached))


def make_node(config: Config, native: Any, log: Log) -> Node:
    """The node of this configuration, not started."""
    try:
        plane = Plane(native, config)
    except DataPlaneRefused as refused:
        raise RunError(f"The data plane cannot be made: {refused}.") from None
    return Node(config, plane, log, SYSTEM_CLOCK, RelayRole if config.node.role is Role.RELAY else EdgeRole)


async def _run(config: Config, drain_s: float | None, native: Any, taking_over: bool, detached: bool) -> int:
    stopping, hangup = _signals()
    log = Log(config.log.level)
    node = make_node(config, native, log)
    keeper = Keeper()
    reloader = Reloader(node, log, keeper.tell)
    admin = AdminServer(config.node.admin, admin_handlers(node, reloader), config.node.admin_group)
    reloading: asyncio.Task[None] | None = None
    # Until the other process has said GO there is nothing here that could be ended in order.
    left = await take_over(node) if taking_over else None
    if left is not None:
        keeper.restore(left.is_kept, left.notify_socket)
    if drain_s is None:
        drain_s = DRAIN_S if left is None or left.drain_s is None else left.drain_s
    door = Handover(node, reloader, admin, keeper, drain_s)
    try:
        if left is None:
            await admin.start()
            await node.start()
            await door.start()
            _print_ready(config)
        else:
            _start_restored(node, left, detached)
            await admin.start(left.admin)
            await door.start(left.door)
        _stand_back()
        keeper.tell("READY=1")
        reloading = asyncio.create_task(_reloaded_on(hangup, reloader))
        await stopping.acquire()
        reloading.cancel()
        await door.stop()
        keeper.tell("STOPPING=1")
        await _drained(node, drain_s, stopping)
    finally:
        # The loop lets go of its signals at its end, and this one alone would still change how the process ends.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        if reloading is not None:
            reloading.cancel()
        await door.stop()
        await node.stop()
        await admin.stop()
    return 0


def _stand_back() -> None:
    """Leave a core that this thread shares with a worker to the worker; threads that it begins from now on do too."""
    # Linux has a priority for each thread, and 0 is the one that asks. A sandbox that forbids it costs speed alone.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICER)


def _start_restored(node: Node, left: HandedOver, detached: bool) -> None:
    """Go on for the process before, and first of all."""
    if detached:
        os.dup2(left.log, 2)
    start_restored(node)
    _print_ready(node.config)
    if detached:
        os.dup2(left.output, 1)
        _print_ready(node.config)
    os.close(left.log)
    os.close(left.output)


async def _reloaded_on(hangup: asyncio.Event, reloader: Reloader) -> None:
    """Reload at each SIGHUP; those that come while one is under way are one."""
    while True:
        await hangup.wait()
        hangup.clear()
        await reloader.reload()


async def _drained(node: Node, drain_s: float, stopping: asyncio.Semaphore) -> None:
    """Drain, unless a second signal ends that."""
    draining = asyncio.create_task(node.drain(drain_s))
    again = asyncio.create_task(stopping.acquire())
    try:
        await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (draining, again):
            task.cancel()
        await asyncio.gather(draining, again, return_exceptions=True)


def _print_ready(config: Config) -> None:
    """Say the one line. A reader that has gone, as a command that was interrupted, is no reason to end a node."""
    with suppress(OSError):
        os.write(1, f"{ready_line(config)}\n".encode())


def ready_line(config: Config) -> str:
    """The one line on standard output."""
    parts = [
        (len(config.listens), "listener"),
        (len(config.links), "neighbour to dial"),
        (len(config.exports), "export"),
        (len(config.imports), "import"),
    ]
    counted = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in parts if count)
    counted = counted.replace("neighbour to dials", "neighbours to dial")
    return f"pcgrelay: {config.node.role.title} {config.node.id} is ready ({counted})."


def _signals() -> tuple[asyncio.Semaphore, asyncio.Event]:
    """Counts the signals that ask this process to stop, and tells of those that ask it to reload."""
    stopping = asyncio.Semaphore(0)
    hangup = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.release)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    # Since the first statement of this process it was held back.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    return stopping, hangup
