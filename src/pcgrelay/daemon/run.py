"""A node from its configuration to its exit: start, the ready line, signals, reload, drain and stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvloop

from pcgrelay.admin.server import AdminServer
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.config import Config
from pcgrelay.daemon.admin_api import admin_handlers
from pcgrelay.daemon.fleet_api import attach_fleet
from pcgrelay.daemon.handover.new_process import HandedOver, take_over
from pcgrelay.daemon.handover.old_process import Handover
from pcgrelay.daemon.keeper import Keeper
from pcgrelay.daemon.reader_api import answer_readers
from pcgrelay.daemon.reload import Reloader
from pcgrelay.daemon.signals import Signals
from pcgrelay.dataplane.adapter import Plane, native_core
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import RunError
from pcgrelay.gateway.approved_start import StartingPolicy
from pcgrelay.gateway.edge import EdgeRole
from pcgrelay.gateway.handover import start_restored
from pcgrelay.gateway.node import Node
from pcgrelay.gateway.relay import RelayRole
from pcgrelay.identity.credentials import Credentials
from pcgrelay.log.writer import Log
from pcgrelay.model import Role
from pcgrelay.net.descriptors import raise_descriptor_limit
from pcgrelay.state.folder import StateFolder

# The control plane's nice value relative to the workers. Beside a busy worker it gets a sixth of a shared core, which
# is enough to meet its deadlines, and a worker that wakes up gets the core at once (docs/performance.md).
NICER = 7
DRAIN_S = 30.0


def run(
    policy: StartingPolicy, drain_s: float | None = None, *, taking_over: bool = False, detached: bool = False
) -> int:
    """Run a node until it is stopped; return the exit code.

    policy: what it starts with. drain_s: how long open streams may continue after SIGTERM; by default as in the
    previous process, else DRAIN_S.
    taking_over: replace the running process. detached: write output where the previous process wrote it.

    PcgrelayError: the node cannot start, for a reason that the operator can correct.
    """
    # What is loaded stays to the end. No collection looks at it again, and so none takes long.
    gc.freeze()
    gc.enable()
    _be_named()
    raise_descriptor_limit()
    return uvloop.run(_run(policy, drain_s, native_core(), taking_over, detached))


def make_node(config: Config, native: Any, log: Log, credentials: Credentials | None = None) -> Node:
    """Return the node of this configuration, not started.

    RunError: the core refuses it.
    """
    try:
        plane = Plane(native, config)
    except DataPlaneRefused as refused:
        raise RunError(f"The data plane cannot be made: {refused}.") from None
    role = RelayRole if config.node.role is Role.RELAY else EdgeRole
    return Node(config, plane, log, SYSTEM_CLOCK, role, credentials)


async def _run(policy: StartingPolicy, drain_s: float | None, native: Any, taking_over: bool, detached: bool) -> int:
    config = policy.config
    signals = Signals()
    stopping = signals.stopping
    log = Log(config.log.level)
    log.set_format(config.log.format)
    node = make_node(config, native, log, policy.load())
    node.approvals.restore(policy.start)
    attach_fleet(node)
    keeper = Keeper()
    reloader = Reloader(node, log, keeper.tell)
    handlers = admin_handlers(node, reloader)
    admin = AdminServer(config.node.admin, handlers, config.node.admin_group)
    answer_readers(node, handlers)
    reloading: asyncio.Task[None] | None = None
    if not taking_over and config.node.state is not None:
        node.state = StateFolder.take(config.node.state)
    # Until the other process has sent GO, there is nothing here that needs an orderly stop.
    left = await take_over(node) if taking_over else None
    if left is not None:
        keeper.restore(left.is_kept, left.notify_socket)
    if drain_s is None:
        drain_s = DRAIN_S if left is None or left.drain_s is None else left.drain_s
    door = Handover(node, reloader, admin, keeper, signals, drain_s)
    try:
        if left is None:
            await admin.start()
            # First: what comes into force with the start is on record.
            node.audit.attach(node.state)
            node.audit.start()
            await node.approvals.begin(policy.start, must_keep=True)
            await node.start()
            await door.start()
            _print_ready(config)
        else:
            _start_restored(node, left, detached)
            await admin.start(left.admin)
            await door.start(left.door)
            await node.approvals.begin(policy.start, must_keep=False)
        node.stands_back = _stand_back()
        keeper.tell("READY=1")
        reloading = asyncio.create_task(signals.reload_on_hangup(reloader.reload))
        await stopping.acquire()
        reloading.cancel()
        await door.stop()
        keeper.tell("STOPPING=1")
        await _drained(node, drain_s, stopping)
    finally:
        # The loop restores its signal handlers when it closes; a SIGHUP after that would change how the process ends.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        if reloading is not None:
            reloading.cancel()
        await door.stop()
        await node.stop()
        await admin.stop()
        if node.state is not None:
            node.state.close()
    return 0


def _stand_back() -> bool:
    """Lower this thread's priority, so that a worker that shares its core goes first; new threads inherit it.

    Return whether that is allowed. A sandbox that forbids the call only costs speed.
    """
    try:
        # Linux has a priority for each thread, and 0 is the calling one.
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICER)
    except OSError:
        return False
    return True


def _be_named() -> None:
    """Have ps and top show "pcgrelay", also for the process of an upgrade, which is begun as a module of Python."""
    with suppress(OSError):
        Path("/proc/self/comm").write_text("pcgrelay")


def _start_restored(node: Node, left: HandedOver, detached: bool) -> None:
    """Continue the previous process's node; this runs before everything else."""
    if detached:
        os.dup2(left.log, 2)
        node.log.sink_changed()
    start_restored(node)
    _print_ready(node.config)
    if detached:
        os.dup2(left.output, 1)
        _print_ready(node.config)
    os.close(left.log)
    os.close(left.output)


async def _drained(node: Node, drain_s: float, stopping: asyncio.Semaphore) -> None:
    """Drain until the node is empty, drain_s have passed, or a second signal arrives."""
    draining = asyncio.create_task(node.drain(drain_s))
    again = asyncio.create_task(stopping.acquire())
    try:
        await asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (draining, again):
            task.cancel()
        await asyncio.gather(draining, again, return_exceptions=True)


def _print_ready(config: Config) -> None:
    """Print the ready line. A closed standard output, as of an interrupted command, does not end the node."""
    with suppress(OSError):
        os.write(1, f"{ready_line(config)}\n".encode())


def ready_line(config: Config) -> str:
    """Return the line that a started node prints on standard output."""
    parts = [
        (len(config.listens), "listener"),
        (len(config.links), "neighbour to dial"),
        (len(config.exports), "export"),
        (len(config.imports), "import"),
    ]
    counted = ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in parts if count)
    counted = counted.replace("neighbour to dials", "neighbours to dial")
    return f"pcgrelay: {config.node.role.title} {config.node.id} is ready ({counted})."
