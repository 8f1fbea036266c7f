"""A link on the control plane, from its handshake to its end.

    OPENING --all lanes up--> UP --control lost--> ORPHANED --all lanes lost, or too long--> CLOSED
       |                       |                                                               ^
       +-----------------------+--- no lane for too long, goodbye, replaced -------------------+

A lost control connection does not close the lanes: traffic goes on while the dialler makes a new link, which then
replaces this one. A control connection in TCP back-off counts as lost once the lanes show that the network works again:
after an outage TCP may wait for as long again as the outage took. A renewal moves the link to a new control connection
without interruption (`changeover`). Only a link that is UP gets new paths. A link ends once and calls link_down once.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Protocol

from pcgrelay.clock import Clock
from pcgrelay.dataplane.api import DataPlaneRefused, LinkPlane
from pcgrelay.health.probing import LinkProbing
from pcgrelay.health.state import Health
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.identity.renewal import Renewal, Schedule
from pcgrelay.identity.tls import HandshakeRefused
from pcgrelay.link.changeover import CHANGEOVER_MS, Changeover
from pcgrelay.link.control import MESSAGE_TOO_LONG, ControlConnection
from pcgrelay.link.history import LinkHistory
from pcgrelay.link.lanes import Lanes
from pcgrelay.messages import Beat, Code, Drain, Goodbye, Message, Renewed, code_name
from pcgrelay.net.ratelimit import TokenBucket

BEAT_INTERVAL_MS = 5_000
BEATS_MISSED_MOST = 3
PULSE_MS = 500
OPENING_MS = 15_000
LANELESS_MS = 10_000
ORPHANED_MS = 180_000
RETIRE_MS = 700
# How long a replaced link keeps its working lanes at most: its paths may wait for a node that dials with back-off.
GIVE_WAY_MS = 10_000
REFUSED_BY_PEER = f"goodbye_{code_name(Code.REFUSED)}"
MESSAGES_AT_ONCE = 20_000  # of a neighbour: far more than set-up and catalogue need (docs/protocol.md, 8)
MESSAGES_EACH_SECOND = 2_000


class LinkState(Enum):
    """States of a link; the transitions are drawn above."""

    OPENING = auto()
    UP = auto()
    ORPHANED = auto()
    CLOSED = auto()


class LinkObserver(Protocol):
    """Observer of links."""

    def link_up(self, link: Link) -> None: ...
    def link_control_lost(self, link: Link, reason: str) -> None: ...
    def link_message(self, link: Link, message: Message) -> None: ...
    def link_drains(self, link: Link) -> None: ...
    def link_down(self, link: Link, reason: str) -> None: ...
    def link_is_used(self, link: Link) -> bool: ...
    def link_has_room(self, link: Link) -> None: ...


class LinkWatcher(LinkObserver, Protocol):
    """Observer that is also told of each lane and renewal."""

    def link_renewed(self, link: Link) -> None: ...
    def link_lane_down(self, link: Link, index: int, code: int, reason: str) -> None: ...


class Link:
    """An authenticated association with a neighbour. `run` is its life; everything else is told to it."""

    def __init__(
        self,
        number: int,
        established: HandshakeResult,
        connection: ControlConnection,
        *,
        standing: LinkHistory,
        plane: LinkPlane,
        observer: LinkWatcher,
        clock: Clock,
        connect: Callable[[], Awaitable[socket.socket]] | None,
    ) -> None:
        """connect opens a TCP connection for a lane; it is there if this node dialled. The secret is used up here.
        With a connection that is lost it is one that another process has handed over, as `inherited` makes it.
        """
        self.number = number
        self.peer = established.peer
        self.peer_role = established.peer_role
        self.standing = standing
        self.probing = LinkProbing()
        self.dialled = established.client
        self.lanes = established.lanes
        self.cap = established.cap
        self.suite = established.suite
        self.group = established.group
        self.tls_suite = established.tls_suite
        self.link_id = established.link_id
        self.chain = established.chain
        self.features = established.features  # those that both ends list
        self.state = LinkState.OPENING
        self.draining = False
        self.replaced = False  # a newer link with this neighbour is up
        self.control_lost = asyncio.Event()
        self.generation = 0
        self.opened_ms = clock.monotonic_ms()
        self.schedule = Schedule(self.opened_ms)
        self.lanes_up: dict[int, int] = {}  # index: number
        self._connection = connection
        self._outlet = connection  # where messages are sent: during a renewal already the new connection
        self._change: Changeover | None = None
        self._attempted = 0  # the greatest generation for which RENEWED was sent
        self._serving: set[asyncio.Task[None]] = set()
        self._plane = plane
        self._observer = observer
        self._clock = clock
        self._connect = connect
        self._lanes: Lanes | None = None  # only if this node dials
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.changed_ms = self.opened_ms  # when the present state, or the lack of lanes, began
        self._beats_missed = self._beat_token = 0
        self._beat_sent_ms = self.opened_ms
        self._bucket = TokenBucket(MESSAGES_AT_ONCE, MESSAGES_EACH_SECOND, self.opened_ms)
        self._unknown_before = 0  # on control connections before this one
        self._was_stuck = False
        if connection.has_ended():
            self.state = LinkState.ORPHANED
            self.control_lost.set()
            return
        plane.link_add(
            number,
            secret=established.secret,
            binding=established.binding,
            suite=established.suite,
            dialler=self.dialled,
            lanes=self.lanes,
            link_id=self.link_id,
        )

    @property
    def bearer(self) -> str:
        """The bearer (network) that the link uses."""
        return self.standing.settings.bearer

    @property
    def is_well(self) -> bool:
        """Whether a path over it would work and its probes are answered."""
        return self.able and self.probing.health is not Health.FAILING

    @property
    def is_steady(self) -> bool:
        """Whether it is well and its hold-down is over."""
        return self.is_well and self.standing.damping.is_steady(self._clock.monotonic_ms())

    @property
    def usable(self) -> bool:
        """Whether a new path may use it."""
        return self.able and not self.draining

    @property
    def able(self) -> bool:
        """Whether a path over it would work, even if the neighbour drains."""
        return self.state is LinkState.UP and self.has_lanes and not self._is_stuck

    @property
    def has_lanes(self) -> bool:
        """Whether all its lanes are up."""
        return len(self.lanes_up) == self.lanes

    @property
    def controlled(self) -> bool:
        """Whether messages reach the neighbour."""
        return self.state in (LinkState.OPENING, LinkState.UP)

    @property
    def unknown_total(self) -> int:
        """Messages received of kinds that this version does not know."""
        return self._unknown_before + self._connection.unknown_total

    @property
    def backlog_bytes(self) -> int:
        """Bytes of messages that are queued and not yet given to the kernel."""
        return self._outlet.backlog_bytes

    @property
    def ends(self) -> tuple[str, str] | None:
        """The numeric addresses of its control connection, here and there; None: that has ended."""
        return self._outlet.ends

    @property
    def _is_stuck(self) -> bool:
        return self._connection.is_stuck or self._outlet.is_stuck

    def send(self, message: Message) -> None:
        """Queue a message to the neighbour; without a control connection it is dropped."""
        if self.controlled:
            self._outlet.send(message)

    def close(self, reason: str, code: int = Code.DONE) -> None:
        """End the link; the code goes to the neighbour in GOODBYE."""
        if not self._closed.done():
            self.send(Goodbye(code, ""))
            self._closed.set_result(reason)

    def cut(self, reason: str, code: int) -> None:
        """End the link and close its lanes at once, without waiting for GOODBYE to be sent."""
        self.close(reason, code)
        self.sever(reason, code)

    def sever(self, reason: str, code: int = Code.UNREACHABLE) -> None:
        """End the link as if its network had been lost: the neighbour is told nothing, and no path is moved before."""
        if not self._closed.done():
            self._closed.set_result(reason)
        self.lanes_up.clear()
        with suppress(DataPlaneRefused):
            self._plane.link_close(self.number, code)

    def drain(self, milliseconds: int) -> None:
        """Tell the neighbour that this node drains and ends the link in so many milliseconds."""
        self.send(Drain(milliseconds))
        with suppress(DataPlaneRefused):
            self._plane.link_drain(self.number, milliseconds)

    def retire(self, reason: str) -> None:
        """End the link in RETIRE_MS, so that its paths can move before."""
        self.drain(RETIRE_MS)
        self.peer_drains()
        asyncio.get_running_loop().call_later(RETIRE_MS / 1000, self.close, reason, Code.DRAINING)

    def remake(self, reason: str) -> None:
        """End the control connection, so that the link is made again; the lanes go on until the new one replaces it."""
        if self.controlled:
            self._connection.end(reason)

    def give_way(self, reason: str) -> None:
        """End because a newer link with the same neighbour is up, but let the paths over the lanes move before."""
        if self.state is not LinkState.ORPHANED or not self.lanes_up:
            self.close(reason)
        elif not self.replaced:
            self.replaced = True
            self.draining = True
            self._observer.link_drains(self)
            asyncio.get_running_loop().call_later(GIVE_WAY_MS / 1000, self.close, reason)

    # -- renewal -----------------------------------------------------------------------------------------------

    async def connect(self) -> socket.socket:
        """Open another TCP connection to the address that was dialled. OSError or TimeoutError if that fails."""
        assert self._connect is not None
        return await self._connect()

    @property
    def renewable(self) -> Renewal | None:
        """What a renewal must match, or None if the link cannot be renewed now."""
        if self.state is not LinkState.UP or self._closed.done():
            return None
        return Renewal(self.peer, self.suite, max(self.generation, self._attempted) + 1, self.link_id)

    def change_over(self, established: HandshakeResult, connection: ControlConnection) -> asyncio.Future[None]:
        """Begin the changeover to the connection of a renewal, whose handshake is complete.

        The future is done once both sides use the new connection; it raises HandshakeRefused if that fails. The secret
        is wiped here. Raises DataPlaneRefused if the core refuses; then nothing was begun.
        """
        if self._change is not None:
            if established.generation < self._change.generation:
                raise DataPlaneRefused("the dialler has given up that attempt before it began this one")
            # The dialler begins a new attempt only after it has given up the previous one.
            self._change_failed("superseded")
        self._plane.link_renew(self.number, secret=established.secret, mix=established.generation)
        change = Changeover(established, connection, self._clock.monotonic_ms())
        self._change = change
        self._serve(connection, change.opened)
        return change.done

    def mix_is_kept(self, mix: int) -> None:
        """Go on with the renewal of this mix: every worker of the core has its secret."""
        if self._change is not None and self._change.generation == mix:
            self._change.kept = True
            self._step_over(self._change)

    def _renewed_taken(self, message: Renewed) -> None:
        change = self._change
        if change is None or change.heard or {message.mix, message.generation} != {change.generation}:
            # It may belong to an attempt that was given up here: then the two sides no longer agree on the state.
            self._connection.end("renewal_lost")
            return
        change.heard = True
        self._step_over(change)

    def _step_over(self, change: Changeover) -> None:
        """Send RENEWED and switch connections, as far as the state of the renewal allows. The dialler sends first."""
        if change.kept and not change.told and (self.dialled or change.heard):
            change.told = True
            self._attempted = change.generation
            self._outlet.send(Renewed(mix=change.generation, generation=change.generation))
            self._outlet = change.connection
        if not (change.told and change.heard):
            return
        before, self._connection, self._change = self._connection, change.connection, None
        self.generation = change.generation
        fresh = change.established
        self.chain, self.group, self.tls_suite = fresh.chain, fresh.group, fresh.tls_suite
        self.schedule.renewed(self._clock.monotonic_ms())
        self._beats_missed = 0
        self._unknown_before += before.unknown_total
        before.retire()
        change.opened.set()
        with suppress(DataPlaneRefused):
            self._plane.link_mix(self.number, change.generation)
        change.done.set_result(None)
        self._observer.link_renewed(self)

    def _change_failed(self, reason: str) -> None:
        change, self._change = self._change, None
        if change is None:
            return
        change.connection.end(reason)
        if change.is_begun:
            self._connection.end("renewal_lost")
        if not change.done.done():
            change.done.set_exception(HandshakeRefused(reason, "The renewal was not taken by both sides."))
            # Retrieve it, so that asyncio does not complain: the acceptor does not wait for the future.
            change.done.exception()

    async def run(self) -> None:
        """Run the link until it ends; by then its lanes, control connection and tasks are ended too."""
        if self.state is not LinkState.ORPHANED:
            self._serve(self._connection)
        tasks = [asyncio.create_task(self._pulse())]
        if self._connect is not None:
            self._lanes = Lanes(
                self.number,
                self.lanes,
                plane=self._plane,
                clock=self._clock,
                connect=self._connect,
                control_lost=self.control_lost,
            )
            tasks += [asyncio.create_task(self._lanes.keep(index)) for index in range(self.lanes)]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        reason = "stopped"
        try:
            reason = await self._closed
        except Exception:
            reason = "failure"
            raise
        finally:
            # The connection still sends a queued GOODBYE if it is ended rather than cancelled.
            self._change_failed(reason)
            self._connection.end(reason)
            self._outlet.end(reason)
            if self._serving:
                await asyncio.wait(self._serving, timeout=2.0)
            tasks += self._serving
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.state = LinkState.CLOSED
            self.control_lost.set()
            with suppress(DataPlaneRefused):
                self._plane.link_close(self.number, Code.DONE)
            self._observer.link_down(self, reason)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """End the link if one of its tasks fails; `run` raises the exception."""
        if not task.cancelled() and (error := task.exception()) is not None and not self._closed.done():
            self._closed.set_exception(error)

    # -- what the core reports ---------------------------------------------------------------------------------

    def lane_is_up(self, index: int, number: int) -> None:
        """Note that a lane was confirmed in both directions."""
        self.lanes_up[index] = number
        if self.state is LinkState.OPENING and len(self.lanes_up) == self.lanes:
            self.state = LinkState.UP
            self.changed_ms = self._clock.monotonic_ms()
            self._observer.link_up(self)
        elif self.state is LinkState.UP and self._is_stuck:
            # The network works again, but TCP still backs off.
            self._connection.break_off("stuck")

    def lanes_looked_at(self, *, heard: bool) -> None:
        """Check once a second for a stuck control connection. heard: the lanes have received something since.
        If the lanes work and the connection was stuck before and still is, only the connection is lost: it is reset.
        """
        is_stuck = self.state is LinkState.UP and self._is_stuck
        if is_stuck and self._was_stuck and heard:
            self._connection.break_off("stuck")
        self._was_stuck = is_stuck

    def lane_is_down(self, index: int, number: int, code: int, reason: str) -> None:
        """Note that a lane was lost or could not be confirmed."""
        if self._lanes is not None and 0 <= index < self.lanes:
            self._lanes.ended(index)
        if self.lanes_up.get(index) != number:
            return
        del self.lanes_up[index]
        if self._closed.done():
            return
        self._observer.link_lane_down(self, index, code, reason)
        if not self.lanes_up:
            self.changed_ms = self._clock.monotonic_ms()
            if self.state is LinkState.ORPHANED:
                self.close("lanes_lost")

    def peer_drains(self) -> None:
        """Note that the neighbour drains, as it said on a lane or on the control connection."""
        if not self.draining:
            self.draining = True
            self._observer.link_drains(self)

    # -- tasks -------------------------------------------------------------------------------------------------

    def _serve(self, connection: ControlConnection, opened: asyncio.Event | None = None) -> None:
        connection.on_room = lambda: self._observer.link_has_room(self)
        connection.on_unknown(lambda: self._take(None))
        task = asyncio.create_task(self._control(connection, opened))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        task.add_done_callback(self._task_ended)

    async def _control(self, connection: ControlConnection, opened: asyncio.Event | None) -> None:
        reason = await connection.run(self._take, opened)
        if connection is not self._connection:
            if self._change is not None and connection is self._change.connection:
                self._change_failed("closed")
            return
        self._change_failed("control_lost")
        self.control_lost.set()
        if self._closed.done():
            return
        if self.state is LinkState.OPENING or not self.lanes_up or reason == MESSAGE_TOO_LONG:
            self.close(f"control_{reason}")
            return
        self.state = LinkState.ORPHANED
        self.changed_ms = self._clock.monotonic_ms()
        self._observer.link_control_lost(self, reason)

    def _take(self, message: Message | None) -> None:
        # None: a message of an unknown kind, which counts as much as any other.
        if not self._bucket.spend(self._clock.monotonic_ms()):
            self.close("too_many_messages", Code.LIMIT)
        elif self._change is not None and self._change.heard:
            self.close("violation", Code.VIOLATION)
        elif isinstance(message, Renewed):
            self._renewed_taken(message)
        elif isinstance(message, Beat):
            self._beat_taken(message)
        elif isinstance(message, Goodbye):
            self.close(f"goodbye_{code_name(message.code)}")
        elif isinstance(message, Drain):
            self.peer_drains()
        elif message is not None:
            self._observer.link_message(self, message)

    def _beat_taken(self, beat: Beat) -> None:
        if not beat.answer:
            self.send(Beat(beat.token, True))
        elif beat.token == self._beat_token:
            self._beats_missed = 0

    async def _pulse(self) -> None:
        """Watch the deadlines that no message and no event triggers."""
        while True:
            await asyncio.sleep(PULSE_MS / 1000)
            now = self._clock.monotonic_ms()
            if self.state is LinkState.OPENING and now - self.changed_ms > OPENING_MS:
                self.close("lanes_not_up", Code.TIMEOUT)
            elif self.state is LinkState.UP and not self.lanes_up and now - self.changed_ms > LANELESS_MS:
                self.close("lanes_lost", Code.TIMEOUT)
            elif self.state is LinkState.ORPHANED and now - self.changed_ms > ORPHANED_MS:
                self.close("control_lost")
            elif self.replaced and not self._observer.link_is_used(self):
                self.close("replaced")
            elif self._change is not None and now - self._change.began_ms > CHANGEOVER_MS:
                self._change_failed("deadline")
            elif self.controlled and now - self._beat_sent_ms >= BEAT_INTERVAL_MS:
                self._beat(now)

    def _beat(self, now: int) -> None:
        if self._beats_missed >= BEATS_MISSED_MOST:
            self._connection.break_off("silent")
            return
        self._beats_missed += 1
        self._beat_sent_ms = now
        self._beat_token = int.from_bytes(os.urandom(8), "big")
        self._outlet.send(Beat(self._beat_token, False))
