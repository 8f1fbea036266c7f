"""The outgoing side of a hand-over: a running node gives its whole state to the process that replaces it.

It waits at a unix socket beside the admin socket. Before GO, the only change is that the workers are paused, and after
any failure they continue. After GO this process seals nothing, sends nothing and exits.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
import time
from contextlib import suppress

from pcgrelay.admin.private import private_socket
from pcgrelay.admin.server import AdminServer
from pcgrelay.daemon.handover.channel import (
    Channel,
    ChannelBroken,
    Go,
    Offer,
    Ready,
    Refusal,
    State,
    Taken,
    handover_path,
)
from pcgrelay.daemon.handover.memfd import make_record
from pcgrelay.daemon.keeper import Keeper
from pcgrelay.daemon.reload import Reloader
from pcgrelay.daemon.signals import Signals
from pcgrelay.dataplane.api import DataPlaneRefused
from pcgrelay.errors import PcgrelayError, RunError
from pcgrelay.gateway.handover import common_facts, listening, services_offered, to_handover
from pcgrelay.gateway.node import Node
from pcgrelay.handover.node import VERSION, encode_handover
from pcgrelay.log.events import HandoverDone, HandoverFailed

SAID_S = 2.0
READY_S = 30.0
# For writes of state that are under way; the other process waits a little longer for what comes after them.
WRITES_S = 2.0
# The longest pause of the workers in total: a neighbour gives up a silent lane after two seconds.
FROZEN_S = 1.4
LEAST_S = 0.05
BACKLOG = 4
TOLD_TO_STOP = "it has been told to stop"


class Handover:
    """The socket at which a process that wants to replace this one connects."""

    def __init__(
        self, node: Node, reloader: Reloader, admin: AdminServer, keeper: Keeper, signals: Signals, drain_s: float
    ) -> None:
        """drain_s: the drain time of this process, which the next one adopts."""
        self._path = handover_path(node.config.node.admin)
        self._node = node
        self._reloader = reloader
        self._admin = admin
        self._keeper = keeper
        self._signals = signals
        self._drain_s = drain_s
        self._sock: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._channel: Channel | None = None

    async def start(self, sock: socket.socket | None = None) -> None:
        """Start waiting; sock is the listening socket that the previous process handed over, if there was one."""
        self._sock = sock or private_socket(self._path, "hand-over socket")
        self._sock.setblocking(False)
        self._sock.listen(BACKLOG)
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Stop waiting; may be called twice."""
        if self._task is not None:
            self._task.cancel()
            if self._channel is not None:
                self._channel.cut()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._sock is not None:
            self._sock.close()
            self._sock = None
            with suppress(OSError):
                self._path.unlink()

    async def _serve(self) -> None:
        assert self._sock is not None
        while True:
            try:
                sock, _ = await asyncio.get_running_loop().sock_accept(self._sock)
            except OSError:
                await asyncio.sleep(1.0)
                continue
            self._channel = Channel(sock)
            try:
                await self._asked(self._channel)
            except (PcgrelayError, DataPlaneRefused, OSError) as error:
                self._node.emit(HandoverFailed(reason=str(error)))
            finally:
                self._channel.close()
                self._channel = None

    async def _asked(self, channel: Channel) -> None:
        if not channel.is_own():
            raise ChannelBroken("somebody of another user has asked for the state")
        if word := self._keeper.refusal(channel.peer()[0]):
            channel.send(Refusal(reason=word), SAID_S)
            raise ChannelBroken(word)
        if self._node.draining:
            channel.send(Refusal(reason="it drains; undo that first (pcgrelay drain --undo)"), SAID_S)
            raise ChannelBroken("a node that drains is not handed over")
        async with self._reloader.lock:
            if word := self._node.role.why_no_upgrade():
                channel.send(Refusal(reason=word), SAID_S)
                raise ChannelBroken(word)
            await self._node.audit.flush()
            channel.send(self._offer(), SAID_S)
            await asyncio.to_thread(channel.receive, Ready, READY_S)
            await self._node.readers.settle()
            try:
                # Last, so that nothing of this process is written over what the other one writes.
                await self._settle_writes(channel)
                self._refuse_if_stopping(channel, SAID_S)
                self._hand_over(channel)
            finally:
                self._node.writes.resume()
                self._node.readers.resume()

    async def _settle_writes(self, channel: Channel) -> None:
        try:
            await self._node.writes.settle(WRITES_S)
        except RunError as error:
            channel.send(Refusal(reason=str(error)), SAID_S)
            raise

    def _refuse_if_stopping(self, channel: Channel, seconds: float) -> None:
        """Keep the state if this process was told to stop, for the loop may not have seen the signal yet."""
        if self._signals.has_stop:
            channel.send(Refusal(reason=TOLD_TO_STOP), seconds)
            raise ChannelBroken(TOLD_TO_STOP)

    def _offer(self) -> Offer:
        node = self._node
        return Offer(
            record=node.plane.record_version,
            handover=VERSION,
            node=common_facts(node),
            used_bytes=node.plane.memory().get("used_bytes", 0),
            descriptors=len(os.listdir("/proc/self/fd")),
            listens=tuple(str(address) for address in listening(node)),
            imports=services_offered(node),
        )

    def _hand_over(self, channel: Channel) -> None:
        """Hand over without a turn of the event loop, so that nothing changes the state after it was written."""
        node = self._node
        began_ms = node.clock.monotonic_ms()
        # Neighbours with the same probe interval as this node give up a lane after four such intervals.
        probe_s = node.config.policy.probe_interval_ms / 1000
        deadline = time.monotonic() + min(FROZEN_S, 3 * probe_s)
        memory: mmap.mmap | None = None
        descriptor = -1
        try:
            node.plane.freeze()
            node.audit.release()
            size = node.plane.handover_size()
            descriptor, memory = make_record(size)
            with memoryview(memory) as record:
                core = node.plane.handover_write(record)
            self._send_state(channel, descriptor, size, core, deadline)
            channel.receive(Taken, _left(deadline))
            self._refuse_if_stopping(channel, _left(deadline))
            channel.send(Go(), _left(deadline))
        except Exception as error:
            # After any error this process continues.
            node.plane.thaw()
            node.audit.start()
            if node.state is not None:
                node.state.claim_again()
            raise ChannelBroken(str(error) or type(error).__name__) from None
        finally:
            if memory is not None:
                with memoryview(memory) as record:
                    node.plane.wiped(record)
                memory.close()
            if descriptor >= 0:
                os.close(descriptor)
        self._leave(channel, began_ms)

    def _send_state(self, channel: Channel, descriptor: int, size: int, core: list[int], deadline: float) -> None:
        assert self._sock is not None
        listeners = listening(self._node)
        channel.send(
            State(
                handover=encode_handover(to_handover(self._node)),
                record_bytes=size,
                listens=tuple(str(address) for address in listeners),
                core=len(core),
                drain_s=self._drain_s,
                is_kept=self._keeper.is_kept,
                notify_socket=self._keeper.notify_socket,
                has_lock=self._node.state is not None,
            ),
            _left(deadline),
        )
        own = [descriptor, 1, 2, self._admin.descriptor, self._sock.fileno()]
        channel.send_descriptors([*own, *(sock.fileno() for sock in listeners.values()), *core], _left(deadline))
        if self._node.state is not None:
            # A process of before does not know of it, and leaves it where it is.
            channel.send_descriptors([self._node.state.descriptor], _left(deadline))

    def _leave(self, channel: Channel, began_ms: int) -> None:
        """Exit without a message to any peer: every connection belongs to the other process now."""
        node = self._node
        node.plane.abandon()
        pid, _ = channel.peer()
        self._keeper.tell(f"MAINPID={pid}")
        node.emit(HandoverDone(pid=pid, milliseconds=node.clock.monotonic_ms() - began_ms))
        # Last: whoever signals this process from here on finds none.
        self._signals.send_on(pid)
        os._exit(0)


def _left(deadline: float) -> float:
    return max(LEAST_S, deadline - time.monotonic())
