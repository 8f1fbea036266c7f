"""One link's life on the control plane, from its handshake to its end.

    OPENING --all lanes up--> UP --control lost--> ORPHANED --all lanes lost, or too long--> CLOSED
       |                       |                                                               ^
       +-----------------------+--- no lane for too long, goodbye, replaced -------------------+

A lost control connection does not close the lanes: what flows goes on while the dialler makes a new link, which then
replaces this one. No path is led over a link that is not UP. A link ends once and tells its observer once.
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
from pcgrelay.model import NodeId, Role, Suite
from pcgrelay.session.backoff import STEADY_MS, backoff_ms
from pcgrelay.session.control import ControlConnection
from pcgrelay.session.dataplane import DataPlaneRefused, LinkPlane
from pcgrelay.session.estate import LinkEstate, chain_read, chain_written
from pcgrelay.session.handshake import Established
from pcgrelay.session.messages import Beat, Code, Drain, Goodbye, Message, code_name

BEAT_INTERVAL_MS = 5_000
BEATS_MISSED_MOST = 3
PULSE_MS = 500
OPENING_MS = 15_000
LANELESS_MS = 10_000
ORPHANED_MS = 180_000
RETIRE_MS = 700
# So long, at most, a link that was replaced keeps lanes that still carry. What they carry moves in a few round trips,
# but may have to wait for another node that dials with a back-off.
GIVE_WAY_MS = 10_000
LANE_DEADLINE_S = 5.0
# A neighbour may say so many messages at once and so many each second: far more than set-up and catalogue need.
MESSAGES_AT_ONCE = 20_000
MESSAGES_EACH_SECOND = 2_000


class LinkState(Enum):
    """Where a link is in its life."""

    OPENING = auto()
    UP = auto()
    ORPHANED = auto()
    CLOSED = auto()


class LinkObserver(Protocol):
    """Who is told of links."""

    def link_up(self, link: Link) -> None: ...
    def link_control_lost(self, link: Link, reason: str) -> None: ...
    def link_message(self, link: Link, message: Message) -> None: ...
    def link_drains(self, link: Link) -> None: ...
    def link_down(self, link: Link, reason: str) -> None: ...
    def link_is_used(self, link: Link) -> bool: ...


class LinkWatcher(LinkObserver, Protocol):
    """Who is also told of each lane."""

    def link_lane_down(self, link: Link, index: int, code: int, reason: str) -> None: ...


class Link:
    """An authenticated association with a neighbour. `run` is its life; everything else is told to it."""

    def __init__(
        self,
        number: int,
        established: Established,
        connection: ControlConnection | None,
        *,
        bearer: str,
        plane: LinkPlane,
        observer: LinkWatcher,
        clock: Clock,
        connect: Callable[[], Awaitable[socket.socket]] | None,
    ) -> None:
        """connect opens a TCP connection for a lane; it is there if this node dialled. The secret is used up here.

        Without a connection it is a link that another process has handed over: `inherited` makes those.
        """
        self.number = number
        self.peer = established.peer
        self.peer_role = established.peer_role
        self.bearer = bearer
        self.dialled = established.client
        self.lanes = established.lanes
        self.cap = established.cap
        self.suite = established.suite
        self.group = established.group
        self.tls_suite = established.tls_suite
        self.link_id = established.link_id
        self.chain = established.chain
        self.state = LinkState.OPENING
        self.draining = False
        self.replaced = False  # a newer link with this neighbour is up
        self.control_lost = asyncio.Event()
        self.opened_ms = clock.monotonic_ms()
        self.lanes_up: dict[int, int] = {}  # index: number
        self._connection = connection
        self._plane = plane
        self._observer = observer
        self._clock = clock
        self._connect = connect
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._lane_ended = [asyncio.Event() for _ in range(self.lanes)]
        self._changed_ms = self.opened_ms  # when the present state, or the lack of lanes, began
        self._beats_missed = 0
        self._beat_sent_ms = self.opened_ms
        self._beat_token = 0
        self._allowance = float(MESSAGES_AT_ONCE)
        self._allowance_ms = self.opened_ms
        if connection is None:
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

    @classmethod
    def inherited(cls, estate: LinkEstate, *, plane: LinkPlane, observer: LinkWatcher, clock: Clock) -> Link:
        """A link of the process before this one. Its lanes go on; a new link takes its place, or it ends with them."""
        established = Established(
            peer=NodeId.from_uri(estate.peer),
            peer_role=Role(estate.peer_role),
            suite=Suite(estate.suite),
            group=estate.group,
            tls_suite=estate.tls_suite,
            client=estate.dialled,
            secret=bytearray(),
            binding=b"",
            lanes=estate.lanes,
            flows=0,
            cap=estate.cap,
            link_id=estate.link_id,
            chain=chain_read(estate.chain),
        )
        link = cls(
            estate.number,
            established,
            None,
            bearer=estate.bearer,
            plane=plane,
            observer=observer,
            clock=clock,
            connect=None,
        )
        link.draining = estate.draining
        link.opened_ms = estate.opened_ms
        link.lanes_up = dict(estate.lanes_up)
        return link

    def estate(self) -> LinkEstate:
        """What another process has to know of this link."""
        return LinkEstate(
            number=self.number,
            peer=self.peer.uri,
            peer_role=int(self.peer_role),
            bearer=self.bearer,
            dialled=self.dialled,
            lanes=self.lanes,
            cap=self.cap,
            suite=int(self.suite),
            group=self.group,
            tls_suite=self.tls_suite,
            link_id=self.link_id,
            chain=chain_written(self.chain),
            draining=self.draining,
            opened_ms=self.opened_ms,
            lanes_up=dict(self.lanes_up),
        )

    @property
    def usable(self) -> bool:
        """Whether a new path may be led over it."""
        return self.able and not self.draining

    @property
    def able(self) -> bool:
        """Whether a path over it would work, be the neighbour leaving or not."""
        return self.state is LinkState.UP and len(self.lanes_up) == self.lanes

    @property
    def controlled(self) -> bool:
        """Whether messages reach the neighbour."""
        return self.state in (LinkState.OPENING, LinkState.UP)

    def send(self, message: Message) -> None:
        """Say something to the neighbour; without a control connection it is dropped."""
        if self.controlled and self._connection is not None:
            self._connection.send(message)

    def close(self, reason: str, code: int = Code.DONE) -> None:
        """End the link; the neighbour is told the code."""
        if not self._closed.done():
            self.send(Goodbye(code, ""))
            self._closed.set_result(reason)

    def cut(self, reason: str, code: int) -> None:
        """End the link, and its lanes at once: they do not wait for the goodbye to be taken."""
        self.close(reason, code)
        self.lanes_up.clear()
        with suppress(DataPlaneRefused):
            self._plane.link_close(self.number, code)

    def drain(self, milliseconds: int) -> None:
        """Tell the neighbour that this node leaves."""
        self.send(Drain(milliseconds))
        with suppress(DataPlaneRefused):
            self._plane.link_drain(self.number, milliseconds)

    def retire(self, reason: str) -> None:
        """End the link in a moment; what it carries may find another way before."""
        self.drain(RETIRE_MS)
        self.peer_drains()
        asyncio.get_running_loop().call_later(RETIRE_MS / 1000, self.close, reason, Code.DRAINING)

    def renew(self, reason: str) -> None:
        """Have the link made anew: the lanes go on until the new one replaces it."""
        if self.controlled and self._connection is not None:
            self._connection.end(reason)

    def give_way(self, reason: str) -> None:
        """A newer link with the same neighbour is up: end, but let what is led over the lanes move before."""
        if self.state is not LinkState.ORPHANED or not self.lanes_up:
            self.close(reason)
        elif not self.replaced:
            self.replaced = True
            self.draining = True
            self._observer.link_drains(self)
            asyncio.get_running_loop().call_later(GIVE_WAY_MS / 1000, self.close, reason)

    async def run(self) -> None:
        """Live until the end; then lanes, control connection and tasks are gone."""
        tasks = [asyncio.create_task(self._control()), asyncio.create_task(self._pulse())]
        if self._connect is not None:
            tasks += [asyncio.create_task(self._keep_lane(index)) for index in range(self.lanes)]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        reason = "stopped"
        try:
            reason = await self._closed
        except Exception:
            reason = "failure"
            raise
        finally:
            # The connection flushes a waiting GOODBYE when it is ended rather than cancelled.
            if self._connection is not None:
                self._connection.end(reason)
            with suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await asyncio.wait({tasks[0]})
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.state = LinkState.CLOSED
            self.control_lost.set()
            with suppress(DataPlaneRefused):
                self._plane.link_close(self.number, Code.DONE)
            self._observer.link_down(self, reason)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        """A task that fails takes its link with it, loudly."""
        if not task.cancelled() and (error := task.exception()) is not None and not self._closed.done():
            self._closed.set_exception(error)

    # -- what the core reports ---------------------------------------------------------------------------------

    def lane_is_up(self, index: int, number: int) -> None:
        """A lane was confirmed in both directions."""
        self.lanes_up[index] = number
        if self.state is LinkState.OPENING and len(self.lanes_up) == self.lanes:
            self.state = LinkState.UP
            self._changed_ms = self._clock.monotonic_ms()
            self._observer.link_up(self)

    def lane_is_down(self, index: int, number: int, code: int, reason: str) -> None:
        """A lane is gone, or never came to be."""
        if 0 <= index < self.lanes:
            self._lane_ended[index].set()
        if self.lanes_up.get(index) != number:
            return
        del self.lanes_up[index]
        if self._closed.done():
            return
        self._observer.link_lane_down(self, index, code, reason)
        if not self.lanes_up:
            self._changed_ms = self._clock.monotonic_ms()
            if self.state is LinkState.ORPHANED:
                self.close("lanes_lost")

    def peer_drains(self) -> None:
        """The neighbour is leaving, by its own word on a lane or on the control connection."""
        if not self.draining:
            self.draining = True
            self._observer.link_drains(self)

    # -- tasks -------------------------------------------------------------------------------------------------

    async def _control(self) -> None:
        if self._connection is None:
            return
        reason = await self._connection.run(self._take)
        self.control_lost.set()
        if self._closed.done():
            return
        if self.state is LinkState.OPENING or not self.lanes_up:
            self.close(f"control_{reason}")
            return
        self.state = LinkState.ORPHANED
        self._changed_ms = self._clock.monotonic_ms()
        self._observer.link_control_lost(self, reason)

    def _take(self, message: Message) -> None:
        if not self._allowed():
            self.close("too_many_messages", Code.LIMIT)
        elif isinstance(message, Beat):
            self._beat_taken(message)
        elif isinstance(message, Goodbye):
            self.close(f"goodbye_{code_name(message.code)}")
        elif isinstance(message, Drain):
            self.peer_drains()
        else:
            self._observer.link_message(self, message)

    def _allowed(self) -> bool:
        now = self._clock.monotonic_ms()
        self._allowance += (now - self._allowance_ms) * MESSAGES_EACH_SECOND / 1000
        self._allowance = min(self._allowance, MESSAGES_AT_ONCE) - 1
        self._allowance_ms = now
        return self._allowance >= 0

    def _beat_taken(self, beat: Beat) -> None:
        if not beat.answer:
            self.send(Beat(beat.token, True))
        elif beat.token == self._beat_token:
            self._beats_missed = 0

    async def _pulse(self) -> None:
        """Watch the deadlines that no message and no event would end."""
        while True:
            await asyncio.sleep(PULSE_MS / 1000)
            now = self._clock.monotonic_ms()
            if self.state is LinkState.OPENING and now - self._changed_ms > OPENING_MS:
                self.close("lanes_not_up", Code.TIMEOUT)
            elif self.state is LinkState.UP and not self.lanes_up and now - self._changed_ms > LANELESS_MS:
                self.close("lanes_lost", Code.TIMEOUT)
            elif self.state is LinkState.ORPHANED and now - self._changed_ms > ORPHANED_MS:
                self.close("control_lost")
            elif self.replaced and not self._observer.link_is_used(self):
                self.close("replaced")
            elif self.controlled and now - self._beat_sent_ms >= BEAT_INTERVAL_MS:
                self._beat(now)

    def _beat(self, now: int) -> None:
        if self._connection is None:
            return
        if self._beats_missed >= BEATS_MISSED_MOST:
            self._connection.end("silent")
            return
        self._beats_missed += 1
        self._beat_sent_ms = now
        self._beat_token = int.from_bytes(os.urandom(8), "big")
        self._connection.send(Beat(self._beat_token, False))

    async def _keep_lane(self, index: int) -> None:
        """Dial one lane, and again whenever it is lost, as long as there is a control connection."""
        attempt = 0
        while not self.control_lost.is_set():
            started = self._clock.monotonic_ms()
            if await self._dial_lane(index):
                await self._lane_ended[index].wait()
                if self._clock.monotonic_ms() - started > STEADY_MS:
                    attempt = 0
            attempt += 1
            await asyncio.sleep(backoff_ms(attempt) / 1000)

    async def _dial_lane(self, index: int) -> bool:
        assert self._connect is not None
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(LANE_DEADLINE_S):
                sock = await self._connect()
                number, preamble = self._plane.lane_dial(self.number, index)
                await asyncio.get_running_loop().sock_sendall(sock, preamble)
            self._lane_ended[index].clear()
            # The core owns the descriptor from here on, whatever happens.
            self._plane.lane_add(self.number, index, number, sock.detach())
        except (OSError, TimeoutError, DataPlaneRefused):
            return False
        finally:
            if sock is not None:
                sock.close()
        return True
