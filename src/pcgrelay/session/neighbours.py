"""All links of a node: those it dials, for ever, and those that come in.

There is one link with a neighbour for each bearer and direction. When it is made anew, because the neighbour restarted
or the control connection was lost, the old one is closed as soon as the new one is up and not before.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cryptography import x509

from pcgrelay.audit.record import Failure, LaneDown, LinkControlLost, LinkDown, LinkFailed, LinkUp, Say, Throttle
from pcgrelay.clock import Clock
from pcgrelay.config import LinkSettings
from pcgrelay.model import NodeId, Suite
from pcgrelay.routing.policy import link_refusal
from pcgrelay.session.backoff import STEADY_MS, backoff_ms
from pcgrelay.session.control import ControlConnection, handshake_over
from pcgrelay.session.dataplane import DataPlaneRefused, LinkPlane
from pcgrelay.session.estate import LinkEstate
from pcgrelay.session.handshake import Established
from pcgrelay.session.keys import secret_wiped
from pcgrelay.session.link import Link, LinkObserver
from pcgrelay.session.messages import Code, Message, code_name
from pcgrelay.session.presence import Presence
from pcgrelay.session.sockets import connected
from pcgrelay.session.tls import HandshakeRefused

NUMBERS_MOST = 65_535
LINKS_MOST = 10_000
FAILURE_LINE_MS = 60_000


@dataclass(slots=True)
class Wanted:
    """A link that this node dials, and how that goes."""

    settings: LinkSettings
    link: Link | None = None
    attempts: int = 0
    reason: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Neighbours:
    """The links of one node. It observes each link, logs, and passes everything on to its own observer."""

    def __init__(self, presence: Presence, plane: LinkPlane, observer: LinkObserver, say: Say, clock: Clock) -> None:
        self.links: dict[int, Link] = {}
        self.wanted = [Wanted(settings) for settings in presence.config.links]
        self.refused: dict[str, int] = {}
        self._presence = presence
        self._plane = plane
        self._observer = observer
        self._say = say
        self._clock = clock
        self._by_id: dict[bytes, Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_number = 0
        self._throttle = Throttle(FAILURE_LINE_MS)

    def start(self) -> None:
        """Begin to dial what the configuration names."""
        for wanted in self.wanted:
            wanted.task = self._spawn(self._keep(wanted), "dialler")

    def reload(self) -> None:
        """The configuration has changed: dial what is new, leave what is gone, end what is no longer allowed."""
        settings = self._presence.config.links
        gone = [wanted for wanted in self.wanted if wanted.settings not in settings]
        kept = {wanted.settings: wanted for wanted in self.wanted if wanted.settings in settings}
        self.wanted = [kept.get(each) or Wanted(each) for each in settings]
        for wanted in self.wanted:
            if wanted.task is None:
                wanted.task = self._spawn(self._keep(wanted), "dialler")
        for wanted in gone:
            if wanted.task is not None:
                wanted.task.cancel()
            if wanted.link is not None:
                wanted.link.retire("removed")
        self._judge(lambda link: self._refusal(link.peer, link.dialled, link.chain, link.suite, link.group))

    def judge_expiry(self) -> None:
        """End links whose neighbour's certificate has run out; asked once a second."""
        now = self._clock.wall()
        self._judge(lambda link: self._presence.expiry_refusal(link.chain, now))

    def _judge(self, refusal: Callable[[Link], str | None]) -> None:
        for link in list(self.links.values()):
            if word := refusal(link):
                self.refuse_count(word)
                link.cut(word, Code.REFUSED)

    def _refusal(
        self, peer: NodeId, dialled: bool, chain: tuple[x509.Certificate, ...], suite: Suite, group: str
    ) -> str | None:
        """Why a neighbour would not be let in now, in one word, or nothing."""
        # Whom this node dials is named in its configuration, and that is looked at when it changes.
        expected = peer if dialled else None
        return link_refusal(self._presence.config.policy, peer, expected) or self._presence.standing_refusal(
            chain, suite, group
        )

    async def stop(self, code: int) -> None:
        """Say goodbye to all and end everything that was started here."""
        for link in list(self.links.values()):
            link.close("stopped", code)
        living = [task for task in self._tasks if task.get_name() == "link"]
        if living:
            await asyncio.wait(living, timeout=2.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def usable(self) -> Iterator[Link]:
        """Links that a new path may take."""
        return (link for link in self.links.values() if link.usable)

    def by_id(self, link_id: bytes) -> Link | None:
        """The link that a lane's preamble names."""
        return self._by_id.get(link_id)

    def refuse_count(self, reason: str) -> None:
        """Count a refusal under its one word."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def add(
        self,
        established: Established,
        connection: ControlConnection,
        bearer: str,
        connect: Callable[[], Awaitable[socket.socket]] | None = None,
    ) -> Link | None:
        """Take a link in whose handshake is over; nothing if there are too many. connect is there if we dialled."""
        number = self._number()
        # Trust and policy may have changed since the handshake began.
        word = self._refusal(
            established.peer, established.client, established.chain, established.suite, established.group
        )
        try:
            if word or number is None:
                raise DataPlaneRefused(word or "too_many_links")
            link = Link(
                number,
                established,
                connection,
                bearer=bearer,
                plane=self._plane,
                observer=self,
                clock=self._clock,
                connect=connect,
            )
        except DataPlaneRefused:
            secret_wiped(established.secret)
            connection.abandon()
            self.refuse_count(word or ("too_many_links" if number is None else "link_refused_by_core"))
            return None
        # A second attempt while the first has no lanes yet: the peer has given the first one up.
        for old in self._others_like(link):
            if not old.lanes_up:
                old.close("replaced")
        self.links[number] = link
        self._by_id[link.link_id] = link
        self._spawn(link.run(), "link")
        return link

    # -- hand-over ---------------------------------------------------------------------------------------------

    def estate(self) -> tuple[LinkEstate, ...]:
        """The links that another process can go on with: those with lanes."""
        return tuple(link.estate() for link in self.links.values() if link.lanes_up)

    def inherit(self, estates: Sequence[LinkEstate]) -> None:
        """Have the links of the process before; only lanes are left of them."""
        for estate in estates:
            link = Link.inherited(estate, plane=self._plane, observer=self, clock=self._clock)
            self.links[link.number] = link
            self._by_id[link.link_id] = link
            self._next_number = max(self._next_number, link.number)
            self._spawn(link.run(), "link")

    def judge_inherited(self) -> None:
        """What this process was told may be other than what the one before was: end what is no longer allowed."""
        named = {(wanted.settings.peer, wanted.settings.bearer) for wanted in self.wanted}
        for link in list(self.links.values()):
            if link.dialled and (link.peer, link.bearer) not in named:
                link.retire("removed")
        self._judge(lambda link: self._refusal(link.peer, link.dialled, link.chain, link.suite, link.group))

    # -- what links report -------------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        replaced = self._others_like(link)
        self._say(
            LinkUp(
                link=link.number,
                peer=link.peer.dotted,
                bearer=link.bearer,
                direction="out" if link.dialled else "in",
                lanes=link.lanes,
                suite=link.suite.title,
                group=link.group,
                tls_suite=link.tls_suite,
                replaces=replaced[0].number if replaced else 0,
            )
        )
        self._observer.link_up(link)
        for old in replaced:
            old.give_way("replaced")

    def link_control_lost(self, link: Link, reason: str) -> None:
        self._say(LinkControlLost(link=link.number, peer=link.peer.dotted, reason=reason))
        self._observer.link_control_lost(link, reason)

    def link_message(self, link: Link, message: Message) -> None:
        self._observer.link_message(link, message)

    def link_drains(self, link: Link) -> None:
        self._observer.link_drains(link)

    def link_lane_down(self, link: Link, index: int, code: int, reason: str) -> None:
        self._say(LaneDown(link=link.number, peer=link.peer.dotted, index=index, code=code_name(code), reason=reason))

    def link_is_used(self, link: Link) -> bool:
        return self._observer.link_is_used(link)

    def link_down(self, link: Link, reason: str) -> None:
        self.links.pop(link.number, None)
        self._by_id.pop(link.link_id, None)
        duration_ms = self._clock.monotonic_ms() - link.opened_ms
        self._say(
            LinkDown(
                link=link.number, peer=link.peer.dotted, bearer=link.bearer, reason=reason, duration_ms=duration_ms
            )
        )
        self._observer.link_down(link, reason)

    # -- dialling ----------------------------------------------------------------------------------------------

    async def _keep(self, wanted: Wanted) -> None:
        while True:
            started = self._clock.monotonic_ms()
            try:
                link = await self._dialled(wanted.settings)
            except HandshakeRefused as refused:
                self._failed(wanted, refused.reason, str(refused))
            else:
                if link is not None:
                    wanted.link = link
                    await link.control_lost.wait()
                if self._clock.monotonic_ms() - started > STEADY_MS:
                    wanted.attempts = 0
                elif link is not None and link.lanes_up:
                    # The neighbour is there, as its lanes show: it has been upgraded, and is back at once.
                    wanted.attempts = min(wanted.attempts, 1)
            wanted.attempts += 1
            await asyncio.sleep(backoff_ms(wanted.attempts) / 1000)

    async def _dialled(self, settings: LinkSettings) -> Link | None:
        presence = self._presence
        policy = presence.config.policy

        def judge(peer: NodeId) -> str | None:
            return link_refusal(policy, peer, settings.peer)

        async def connect() -> socket.socket:
            return await connected(settings.address, policy.handshake_deadline_ms)

        try:
            sock = await connect()
        except (OSError, TimeoutError):
            raise HandshakeRefused("unreachable", f"{settings.peer} cannot be reached at its address.") from None
        try:
            established, connection = await handshake_over(
                sock,
                presence.context,
                presence.link_terms(),
                judge,
                client=True,
                deadline_ms=policy.handshake_deadline_ms,
            )
        except BaseException:
            sock.close()
            raise
        return self.add(established, connection, settings.bearer, connect)

    def _failed(self, wanted: Wanted, reason: str, cause: str) -> None:
        settings = wanted.settings
        wanted.reason = reason
        self.refuse_count(reason)
        # A new reason is told at once, an old one now and then.
        if self._throttle.admit(f"{settings.peer} {settings.address} {reason}", self._clock.monotonic_ms()) is not None:
            self._say(
                LinkFailed(
                    peer=settings.peer.dotted,
                    bearer=settings.bearer,
                    reason=reason,
                    cause=cause,
                    attempts=wanted.attempts + 1,
                )
            )

    # -- odds and ends -----------------------------------------------------------------------------------------

    def _others_like(self, link: Link) -> list[Link]:
        return [
            other
            for other in self.links.values()
            if other is not link and (other.peer, other.bearer, other.dialled) == (link.peer, link.bearer, link.dialled)
        ]

    def _number(self) -> int | None:
        """The number longest unused, since events of a link that has just gone may still be on their way."""
        if len(self.links) >= LINKS_MOST:
            return None
        while True:
            self._next_number = self._next_number % NUMBERS_MOST + 1
            if self._next_number not in self.links:
                return self._next_number

    def _spawn(self, work: Awaitable[None], name: str) -> asyncio.Task[None]:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._say(Failure(where=name, error=type(error).__name__))

        task = asyncio.create_task(guarded(), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
