"""All links of a node: dialled and accepted ones.

There is one link for each [[link]]. When it is made again, because the peer restarted or the control connection was
lost, the old link is closed only once the new one is up. Several accepted links with one neighbour at one listener may
use different bearers, which this end cannot tell apart: of these only links without a control connection, or beyond
LINKS_ALIKE_MOST, are replaced.

`dialler` dials links, `renewer` renews them, `udp_lanes` keeps their UDP lanes.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any

from cryptography import x509

from pcgrelay.clock import Clock
from pcgrelay.config import Address, LinkSettings, ListenSettings
from pcgrelay.dataplane.api import DataPlaneRefused, LinkPlane
from pcgrelay.handover.records import LinkHandover
from pcgrelay.health.damping import FORGET_MS
from pcgrelay.health.probing import LinkProbing
from pcgrelay.identity.exporter import wipe_secret
from pcgrelay.identity.handshake import HandshakeResult
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.bar import Bar
from pcgrelay.link.control import MESSAGE_TOO_LONG, ControlConnection
from pcgrelay.link.dialler import Dialler
from pcgrelay.link.history import LinkHistory
from pcgrelay.link.link import REFUSED_BY_PEER, Link, LinkObserver, LinkState
from pcgrelay.link.renewer import LinkRenewer
from pcgrelay.link.restore import link_handover, restore_link, restored_places, restored_settings
from pcgrelay.link.udp_lanes import UdpLanes
from pcgrelay.log.events import (
    Emit,
    Failure,
    LaneDown,
    LinkControlLost,
    LinkDown,
    LinkRenewed,
    LinkUp,
)
from pcgrelay.messages import Code, DatagramLane, Message, code_name
from pcgrelay.model import NodeId, Suite
from pcgrelay.policy.rules import link_refusal, relay_refusal

NUMBERS_MOST = 65_535
LINKS_MOST = 10_000
UNKNOWN_MESSAGE = "unknown_message"
BARRED = "drill"
BEYOND_LIMITS = ("too_many_messages", f"control_{MESSAGE_TOO_LONG}")  # reasons of ends that are counted as refusals
# Of one neighbour, at one listener: more bearers than a node has in practice.
LINKS_ALIKE_MOST = 8


class LinkTable:
    """The links of one node. It observes each link, logs, and forwards to its own observer."""

    def __init__(
        self, local: LocalIdentity, plane: LinkPlane, observer: LinkObserver, emit: Emit, clock: Clock
    ) -> None:
        self.links: dict[int, Link] = {}
        self.refused: Counter[str] = Counter()
        self.bar: Bar | None = None  # links that are not to come up, as long as a drill wants it
        self._local = local
        self._plane = plane
        self._observer = observer
        self._emit = emit
        self._clock = clock
        self._served: dict[bytes, Link] = {}  # accepted links, by the id that this node gave
        self._standings: dict[tuple[NodeId, bool, Address], LinkHistory] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._next_number = 0
        self._shut_out: set[NodeId] = set()  # neighbours whose last answer was a refusal of this node
        self.dialler = Dialler(self, local, emit, clock)
        self.renewer = LinkRenewer(self, plane, local, emit, clock)
        self.udp_lanes = UdpLanes(local, self.links, self.refused, plane, emit, clock)

    def start(self) -> None:
        """Start to dial the links that the configuration names."""
        self.dialler.start()

    def reload(self) -> None:
        """Apply a new configuration: dial new links, retire removed ones, end those that are no longer allowed."""
        self._standings_reload()
        self.dialler.reload()
        self._retire_dialled()
        self._retire_accepted()
        self.judge()
        self.udp_lanes.apply()

    def _retire_dialled(self) -> None:
        """Retire links that the file does not have any more, those too that the dialler is about to replace."""
        named = [wanted.settings for wanted in self.dialler.wanted]
        for link in list(self.links.values()):
            settings = link.standing.settings
            if isinstance(settings, LinkSettings) and settings not in named and not self._is_found(link, settings):
                link.retire("removed")

    def _retire_accepted(self) -> None:
        """Retire links that came in by a listener that has ended. Those of one that was removed stay.

        One that drains too: of one that was restored nobody knows any more when it is to end.
        """
        local = self._local
        ended = {each.address for each in local.written.listens} - {each.address for each in local.config.listens}
        for link in list(self.links.values()):
            if not link.dialled and link.standing.settings.address in ended:
                link.retire("removed")

    def judge(self) -> None:
        """End the links that trust, lists or policy no longer allow."""
        self._judge(self._refusal_of)

    def _standings_reload(self) -> None:
        config = self._local.config
        dialled = {(each.peer, each.address): each for each in config.named_links}
        searched = {each.discover: each for each in config.discoveries}
        came_in = {each.address: each for each in config.listens}
        for key, standing in list(self._standings.items()):
            peer, is_dialled, address = key
            found = dialled.get((peer, address)) if is_dialled else came_in.get(address)
            if isinstance(standing.settings, LinkSettings) and (by := searched.get(standing.settings.discover)):
                # A relay that was found is not in the file, but the name that led to it is.
                found = found or by.link_to(peer, address)
            if found is not None and _is_same_way(standing.settings, found):
                standing.settings = found
            elif found is not None:
                # What is up went over another network, or from another address, and stays what it was until it ends.
                del self._standings[key]

    def look(self, figures: Mapping[int, Mapping[str, int]]) -> bool:
        """Judge the health of each link by its counters, once a second; whether any has changed.

        figures: the core's counters by link number.
        """
        now, changed = self._clock.monotonic_ms(), False
        for number, link in self.links.items():
            of_link = figures.get(number, {})
            before = link.probing.health
            link.probing = link.probing.after(
                sent=of_link.get("pings", 0),
                lost=of_link.get("pings_late", 0),
                received_bytes=of_link.get("received_bytes", 0),
                round_trip_us=of_link.get("rtt_us", 0),
                lanes_up=bool(link.lanes_up),
                now_ms=now,
            )
            changed = changed or link.probing.health is not before
            link.lanes_looked_at(heard=not link.probing.silent_ms)
        for key, standing in list(self._standings.items()):
            self._weigh(standing)
            damping = standing.damping
            if not damping.is_well and now - damping.since_ms > FORGET_MS:
                del self._standings[key]
        return changed

    def _weigh(self, standing: LinkHistory) -> None:
        is_well = any(link.is_well for link in self.links.values() if link.standing is standing)
        standing.damping = standing.damping.after(is_well, self._clock.monotonic_ms())

    def judge_expiry(self) -> None:
        """End links whose neighbour's certificate has expired; called once a second."""
        now = self._clock.wall()
        self._judge(lambda link: self._local.expiry_refusal(link.chain, now))

    def _judge(self, refusal: Callable[[Link], str | None]) -> None:
        for link in list(self.links.values()):
            if word := refusal(link):
                self.refuse_count(word)
                link.cut(word, Code.REFUSED)

    def refusal(
        self, peer: NodeId, dialled: bool, chain: tuple[x509.Certificate, ...], suite: Suite, group: str
    ) -> str | None:
        """Return the reason for which a neighbour would be refused now, or None."""
        # A dialled peer is named in the configuration, which is checked when it changes.
        expected = peer if dialled else None
        return link_refusal(self._local.config.policy, peer, expected) or self._local.standing_refusal(
            chain, suite, group
        )

    def _refusal_of(self, link: Link) -> str | None:
        word = relay_refusal(self._local.config.policy, link.peer, link.peer_role)
        return word or self.refusal(link.peer, link.dialled, link.chain, link.suite, link.group)

    async def stop(self, code: int) -> None:
        """End all links with this code in GOODBYE, and all tasks."""
        for link in list(self.links.values()):
            link.close("stopped", code)
        living = [task for task in self._tasks if task.get_name() == "link"]
        if living:
            await asyncio.wait(living, timeout=2.0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def usable(self) -> Iterator[Link]:
        """The links that a new path may use."""
        return (link for link in self.links.values() if link.usable)

    def by_id(self, link_id: bytes) -> Link | None:
        """The accepted link with this id, which a preamble or a renewal names, or None.

        The other end chose the id of a dialled link, and it may equal that of any link here: it is not found.
        """
        return self._served.get(link_id)

    def is_shut_out(self) -> bool:
        """Whether all neighbours that this node dials refuse it and it has no link."""
        return (
            bool(self._shut_out)
            and all(link.state is LinkState.CLOSED for link in self.links.values())
            and all(wanted.peer in self._shut_out for wanted in self.dialler.wanted)
        )

    def unknown_messages(self) -> dict[str, int]:
        """Return the count of messages of unknown kinds on the present links, by its reason; empty if it is 0."""
        total = sum(link.unknown_total for link in self.links.values())
        return {UNKNOWN_MESSAGE: total} if total else {}

    def shut_out_by(self, peer: NodeId) -> None:
        """Note that a neighbour refuses this node."""
        self._shut_out.add(peer)

    def refuse_count(self, reason: str) -> None:
        """Count a refusal by its reason."""
        self.refused[reason] += 1

    def add(
        self,
        established: HandshakeResult,
        connection: ControlConnection,
        settings: LinkSettings | ListenSettings,
        connect: Callable[[], Awaitable[socket.socket]] | None = None,
    ) -> Link | None:
        """Add a link whose handshake is complete. None if it is refused; the refusal is counted then.

        settings: those it was dialled with, or of its listener. connect: opens a connection, if this node dialled.
        """
        number = self._number()
        # Trust and policy may have changed since the handshake began.
        word = relay_refusal(self._local.config.policy, established.peer, established.peer_role) or self.refusal(
            established.peer, established.client, established.chain, established.suite, established.group
        )
        if self.bar is not None and self.bar.holds(established.peer, settings.bearer):
            # The neighbour is told nothing: to it this node is one that is lost.
            word = word or BARRED
        try:
            if word or number is None:
                raise DataPlaneRefused(word or "too_many_links")
            link = Link(
                number,
                established,
                connection,
                standing=self._standing(established, settings),
                plane=self._plane,
                observer=self,
                clock=self._clock,
                connect=connect,
            )
        except DataPlaneRefused:
            wipe_secret(established.secret)
            connection.abandon()
            self.refuse_count(word or ("too_many_links" if number is None else "link_refused_by_core"))
            return None
        # A second attempt while the first has no lanes yet: the peer has given up the first.
        for old in self._replaced_by(link):
            if not old.lanes_up:
                old.close("replaced")
        self._enter(link)
        return link

    def _enter(self, link: Link) -> None:
        self.links[link.number] = link
        if not link.dialled:
            self._served[link.link_id] = link
        self.spawn(link.run(), "link")

    # -- hand-over ---------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[LinkHandover, ...]:
        """Return the hand-over records of the links that have lanes; another process can go on with these."""
        last = {wanted.link.number: wanted.last for wanted in self.dialler.wanted if wanted.link is not None}
        return tuple(link_handover(link, last.get(link.number, ())) for link in self.links.values() if link.lanes_up)

    def restore(self, handovers: Sequence[LinkHandover]) -> None:
        """Restore the links of the previous process; only their lanes are left."""
        for handover in handovers:
            given = restored_settings(handover, self._local.config)
            key = (NodeId.from_uri(handover.peer), handover.dialled, given.address)
            standing = self._standings.setdefault(key, LinkHistory(given))
            link = restore_link(handover, standing, plane=self._plane, observer=self, clock=self._clock)
            self._next_number = max(self._next_number, link.number)
            self._enter(link)
            if isinstance(given, LinkSettings):
                self.dialler.adopt(link, given, restored_places(handover))

    def judge_restored(self) -> None:
        """End the restored links that are no longer allowed: the configuration may have changed since."""
        self._retire_dialled()
        self._retire_accepted()
        self._judge(self._refusal_of)
        self.udp_lanes.judge_restored()

    def _is_found(self, link: Link, settings: LinkSettings) -> bool:
        """Return whether the configuration still allows a link to a relay that DNS led to."""
        discovery = self.dialler.discovery(settings.discover)
        if discovery is None or discovery.settings.link_to(link.peer, settings.address) != settings:
            return False
        return discovery.settings.admits(link.peer, self._local.config.policy)

    # -- what links report -------------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        self._shut_out.discard(link.peer)
        replaced = self._replaced_by(link)
        link.probing = LinkProbing()
        self._weigh(link.standing)
        self._emit(
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
        self.udp_lanes.link_up(link)
        for old in replaced:
            old.give_way("replaced")

    def link_control_lost(self, link: Link, reason: str) -> None:
        self._weigh(link.standing)
        self._emit(LinkControlLost(link=link.number, peer=link.peer.dotted, reason=reason))
        self._observer.link_control_lost(link, reason)

    def link_message(self, link: Link, message: Message) -> None:
        if isinstance(message, DatagramLane):
            self.udp_lanes.receive(link, message)
        else:
            self._observer.link_message(link, message)

    def link_drains(self, link: Link) -> None:
        self._observer.link_drains(link)

    def link_renewed(self, link: Link) -> None:
        self._emit(
            LinkRenewed(
                link=link.number,
                peer=link.peer.dotted,
                generation=link.generation,
                group=link.group,
                tls_suite=link.tls_suite,
            )
        )

    def link_lane_down(self, link: Link, index: int, code: int, reason: str) -> None:
        self._weigh(link.standing)
        self._emit(
            LaneDown(
                link=link.number,
                peer=link.peer.dotted,
                index=index,
                code=code_name(code),
                reason=reason,
                wanted=_is_wanted(link, reason),
            )
        )

    def link_is_used(self, link: Link) -> bool:
        return self._observer.link_is_used(link)

    def link_has_room(self, link: Link) -> None:
        self._observer.link_has_room(link)

    def link_down(self, link: Link, reason: str) -> None:
        self.links.pop(link.number, None)
        if self._served.get(link.link_id) is link:
            del self._served[link.link_id]
        self._weigh(link.standing)
        if link.unknown_total:
            self.refused[UNKNOWN_MESSAGE] += link.unknown_total
        if reason in BEYOND_LIMITS:
            self.refuse_count(reason)
        if reason == REFUSED_BY_PEER:
            self.shut_out_by(link.peer)
        duration_ms = self._clock.monotonic_ms() - link.opened_ms
        self._emit(
            LinkDown(
                link=link.number,
                peer=link.peer.dotted,
                bearer=link.bearer,
                reason=reason,
                duration_ms=duration_ms,
                wanted=_is_wanted(link, reason),
            )
        )
        self.udp_lanes.link_down(link)
        self._observer.link_down(link, reason)

    # -- the table ---------------------------------------------------------------------------------------------

    def _standing(self, established: HandshakeResult, settings: LinkSettings | ListenSettings) -> LinkHistory:
        key = (established.peer, established.client, settings.address)
        known = self._standings.get(key)
        if known is None or not _is_same_way(known.settings, settings):
            # After an upgrade too: a restored link is of the bearer that it had, and the new one of its own.
            known = self._standings[key] = LinkHistory(settings)
        return known

    def _replaced_by(self, link: Link) -> list[Link]:
        """The links that this one replaces, oldest first."""
        alike = [other for other in self.links.values() if other is not link and other.standing is link.standing]
        if link.dialled:
            return alike
        living = [other for other in alike if other.controlled]
        surplus = living[: max(0, len(living) + 1 - LINKS_ALIKE_MOST)]
        return [other for other in alike if other not in living or other in surplus]

    def _number(self) -> int | None:
        """Return the number unused for longest, because events of a link that just ended may still be queued."""
        if len(self.links) >= LINKS_MOST:
            return None
        while True:
            self._next_number = self._next_number % NUMBERS_MOST + 1
            if self._next_number not in self.links:
                return self._next_number

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that is cancelled when the links stop. An exception in it is logged, and goes no further."""

        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                self._emit(Failure(where=name, error=type(error).__name__))

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            # Work that was cancelled before it began would else be reported as forgotten.
            work.close()

        task = asyncio.create_task(guarded(), name=name)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task


def _is_same_way(before: LinkSettings | ListenSettings, now: LinkSettings | ListenSettings) -> bool:
    """Return whether a link that came up by the one is a link by the other; what came to one listener always is."""
    return before.dials_as(now) if isinstance(before, LinkSettings) and isinstance(now, LinkSettings) else True


def _is_wanted(link: Link, reason: str) -> bool:
    """Return whether somebody intended the end: a stop or a drain, here or there, or a newer link."""
    return link.draining or link.replaced or reason in ("stopped", "replaced", "local_close")
