"""The UDP lanes of all links of a node: offered, answered, renewed and given up (docs/protocol.md, 9.14).

The core makes packets, probes and judges the way. Here is decided when there is another lane: the dialler of a link
offers one for each index, again before the key of the last one is spent, and with back-off where nothing came of it.
The acceptor answers. A link works without them: then its datagrams go over its TCP lanes. An end that switches them off
says so at once, for each index: the other would else find out by silence, and lose what it sends until then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from pcgrelay.clock import Clock
from pcgrelay.config import ListenSettings
from pcgrelay.dataplane import events
from pcgrelay.dataplane.api import DataPlaneRefused, UdpLanePlane
from pcgrelay.handover.records import UdpSocketHandover
from pcgrelay.identity.handshake import UDP_LANES
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link, LinkState
from pcgrelay.link.udp_lane import OF_CORE, IndexUdpLanes, Obstacle
from pcgrelay.link.udp_sockets import EPHEMERAL, UdpSocket, UdpSockets
from pcgrelay.log.events import Emit
from pcgrelay.log.udp_lane_events import UdpLaneDown, UdpLaneUp
from pcgrelay.messages import Code, DatagramLane
from pcgrelay.net.ratelimit import TokenBucket

ANSWER_MS = 10_000
# How many offers a neighbour may make for each lane: what renewals need, and some attempts in vain. Each costs the
# derivation of a few keys.
OFFERS_AT_ONCE = 16
OFFERS_EACH_SECOND = 0.5
_WANTED = ("replaced", "link")  # ends of lanes that say nothing of the way
WITHDRAWN = "withdrawn"
UNASKED = "udp_lane_unasked"
MALFORMED = "udp_lane_malformed"
TOO_MANY = "udp_lane_too_many"
NO_PORT = "udp_lane_no_port"
REFUSED = "udp_lane_refused"
UNANSWERED = "udp_lane_unanswered"
OFF = "udp_lane_off"
# Why a neighbour has not taken an offer. One that wants none at all (REFUSED) is looked at apart.
_OF_CODE = {Code.UNREACHABLE: Obstacle.FAR_PORT}


@dataclass(slots=True)
class _OfLink:
    lanes: dict[int, IndexUdpLanes]
    offers: TokenBucket


class UdpLanes:
    """The UDP lanes of a node's links."""

    def __init__(
        self,
        local: LocalIdentity,
        links: Mapping[int, Link],
        refused: Counter[str],
        plane: UdpLanePlane,
        emit: Emit,
        clock: Clock,
    ) -> None:
        """refused: where refusals are counted, by reason."""
        self._refused = refused
        self._local = local
        self._links = links
        self._plane = plane
        self._emit = emit
        self._clock = clock
        self._sockets = UdpSockets(plane)
        self._was_on = self.is_on
        self._of_links: dict[int, _OfLink] = {}

    @property
    def is_on(self) -> bool:
        """Whether the configuration wants UDP lanes."""
        return self._local.config.node.udp_lanes

    def link_up(self, link: Link) -> None:
        """Begin with a link that came up: its dialler offers a lane for each index."""
        if UDP_LANES in link.features:
            self._look(link)

    def link_down(self, link: Link) -> None:
        """Forget a link that has ended; the core has closed its lanes with it."""
        self._of_links.pop(link.number, None)
        self._sockets.leave(link.number)

    def tick(self) -> None:
        """Offer what is due; called once a second."""
        for link in list(self._links.values()):
            if UDP_LANES in link.features:
                self._look(link)

    def apply(self) -> None:
        """Apply a new configuration. A link is made again for UDP lanes, unless this side can simply offer some.

        Its HELLOs may not list them; and the dialler of a link that came in here does not know that it may offer again.
        """
        was_on, self._was_on = self._was_on, self.is_on
        for link in list(self._links.values()):
            if was_on and not self.is_on:
                self._withdraw(link)
            elif self.is_on and not was_on and not (link.dialled and UDP_LANES in link.features):
                link.remake("udp_lanes")

    def receive(self, link: Link, message: DatagramLane) -> None:
        """Handle an offer or an answer of a neighbour. What was not asked for is counted, and changes nothing."""
        if UDP_LANES not in link.features or link.state is not LinkState.UP:
            self._refused[UNASKED] += 1
        elif message.code == Code.REFUSED and not message.token and not message.port:
            self._withdrawn(link, message)
        elif link.dialled:
            self._answered(link, message)
        else:
            self._answer(link, message)

    def of_index(self, link: Link, index: int) -> IndexUdpLanes | None:
        """Return what is known of an index of a link; None: nothing, as of a link of the process before."""
        of_link = self._of_links.get(link.number)
        return None if of_link is None else of_link.lanes.get(index)

    def is_withdrawn(self, link: Link) -> bool:
        """Whether the neighbour has switched its UDP lanes off since the link came up."""
        lanes = self._of_links[link.number].lanes.values() if link.number in self._of_links else ()
        return any(lane.obstacle is Obstacle.OFF_THERE for lane in lanes)

    def own_ports(self, link: Link) -> tuple[int, ...]:
        """Return the ports of UDP at which packets of a link that came in arrive, as far as they are open."""
        return tuple(sorted(each.port for each in self._sockets if link.number in each.links and each.asked))

    # -- what the core reports ---------------------------------------------------------------------------------

    def handlers(self) -> dict[type[Struct], Callable[[Any], None]]:
        """Return the handlers of core events."""
        return {
            events.UdpLaneUp: self.lane_up,
            events.UdpLaneDown: self.lane_down,
            events.UdpLaneSpent: self.lane_spent,
        }

    def lane_up(self, event: events.UdpLaneUp) -> None:
        """Note that packets get through in both directions."""
        if (link := self._links.get(event.link)) is None:
            return
        lane = self._lane(link, event.index)
        if not lane.told:
            self._emit(UdpLaneUp(link=link.number, peer=link.peer.dotted, bearer=link.bearer, index=event.index))
        lane.up.add(event.number)
        lane.attempts, lane.told, lane.obstacle = 0, True, Obstacle.NONE

    def lane_down(self, event: events.UdpLaneDown) -> None:
        """Note that nothing is sent over a lane any more, or that it ended."""
        if (link := self._links.get(event.link)) is None or (of_link := self._of_links.get(link.number)) is None:
            return
        lane = of_link.lanes.get(event.index)
        # One that never came up is told too: a firewall stops it, as a rule.
        if lane is None or event.number not in {lane.begun, *lane.up}:
            return
        lane.up.discard(event.number)
        lane.obstacle = OF_CORE.get(event.reason, lane.obstacle)
        if event.closed and event.number == lane.begun:
            lane.begun = None
            lane.failed(self._clock.monotonic_ms())
        if not lane.up and lane.told is not False and event.reason not in _WANTED:
            self._tell_down(link, event.index, lane, event.reason)

    def _tell_down(self, link: Link, index: int, lane: IndexUdpLanes, reason: str) -> None:
        lane.told = False
        self._emit(UdpLaneDown(link=link.number, peer=link.peer.dotted, bearer=link.bearer, index=index, reason=reason))

    def lane_spent(self, event: events.UdpLaneSpent) -> None:
        """Offer the next lane: the key of this one has sealed nearly as much as it may."""
        if (link := self._links.get(event.link)) is None or not link.dialled:
            return
        lane = self._lane(link, event.index)
        if lane.begun == event.number:
            lane.is_spent = True
            self._look(link)

    # -- the dialler -------------------------------------------------------------------------------------------

    def _look(self, link: Link) -> None:
        if not link.dialled or not self.is_on or link.state is not LinkState.UP or link.replaced:
            return
        now = self._clock.monotonic_ms()
        for index in range(link.lanes):
            lane = self._lane(link, index)
            if lane.offered is not None and now - lane.offered_ms > ANSWER_MS:
                self._refused[UNANSWERED] += 1
                self._give_up(link, index, lane, Obstacle.UNANSWERED)
            if lane.is_due(link.generation, now):
                self._offer(link, index, lane, now)

    def _offer(self, link: Link, index: int, lane: IndexUdpLanes, now_ms: int) -> None:
        try:
            sock = self._socket(link, index)
            number, token = self._plane.udp_lane_dial(link.number, index, sock.number)
        except OSError:
            self._refused[NO_PORT] += 1
            lane.failed(now_ms, Obstacle.NO_PORT)
            return
        except DataPlaneRefused:
            self._refused[REFUSED] += 1
            lane.failed(now_ms, Obstacle.REFUSED)
            return
        lane.offered, lane.offered_ms = number, now_ms
        link.send(DatagramLane(index, number, token, sock.port))

    def _answered(self, link: Link, answer: DatagramLane) -> None:
        of_link = self._of_links.get(link.number)
        lane = None if of_link is None else of_link.lanes.get(answer.index)
        if lane is None or lane.offered is None or lane.offered != answer.number:
            # It may have been given up here before the answer came.
            self._refused[UNASKED] += 1
            return
        now = self._clock.monotonic_ms()
        if not answer.token or not answer.port or (ends := link.ends) is None:
            self._refused[REFUSED] += 1
            self._give_up(link, answer.index, lane, _OF_CODE.get(answer.code, Obstacle.REFUSED))
            return
        try:
            self._plane.udp_lane_begin(
                link.number, answer.index, answer.number, token=answer.token, host=ends[1], port=answer.port
            )
        except DataPlaneRefused:
            self._refused[REFUSED] += 1
            self._give_up(link, answer.index, lane, Obstacle.REFUSED)
            return
        lane.port = answer.port
        lane.offered = None
        lane.begin(answer.number, now, link.generation)

    def _give_up(self, link: Link, index: int, lane: IndexUdpLanes, obstacle: Obstacle) -> None:
        assert lane.offered is not None
        with suppress(DataPlaneRefused):
            self._plane.udp_lane_close(link.number, index, lane.offered)
        lane.offered = None
        lane.failed(self._clock.monotonic_ms(), obstacle)

    # -- the acceptor ------------------------------------------------------------------------------------------

    def _answer(self, link: Link, offer: DatagramLane) -> None:
        code, token, port = Code.DONE, 0, 0
        if not self.is_on:
            code = self._refuse(OFF, Code.REFUSED)
        elif not self._of(link).offers.spend(self._clock.monotonic_ms()):
            code = self._refuse(TOO_MANY, Code.LIMIT)
        elif not offer.token or not offer.port or offer.index >= link.lanes or (ends := link.ends) is None:
            code = self._refuse(MALFORMED, Code.VIOLATION)
        else:
            try:
                sock = self._socket(link, offer.index)
                token = self._plane.udp_lane_accept(
                    link.number,
                    offer.index,
                    offer.number,
                    token=offer.token,
                    host=ends[1],
                    port=offer.port,
                    socket=sock.number,
                )
                port = sock.port
                lane = self._lane(link, offer.index)
                lane.port = port
                lane.begin(offer.number, self._clock.monotonic_ms())
            except OSError:
                code = self._refuse(NO_PORT, Code.UNREACHABLE)
                self._lane(link, offer.index).obstacle = Obstacle.NO_PORT
            except DataPlaneRefused:
                code = self._refuse(REFUSED, Code.BUSY)
                self._lane(link, offer.index).obstacle = Obstacle.REFUSED
        link.send(DatagramLane(offer.index, offer.number, token, port, code))

    def _refuse(self, reason: str, code: int) -> int:
        self._refused[reason] += 1
        return code

    # -- both --------------------------------------------------------------------------------------------------

    def _socket(self, link: Link, index: int) -> UdpSocket:
        """Return the socket for an index of a link. OSError: there is none to be had."""
        worker, settings = index % self._plane.workers, link.standing.settings
        if (ends := link.ends) is None:
            raise OSError("the control connection has ended")
        port = settings.first_udp_port + worker if isinstance(settings, ListenSettings) else EPHEMERAL
        return self._sockets.take(link.number, worker, ends[0], port)

    def _withdraw(self, link: Link) -> None:
        """Close all UDP lanes of a link, with their sockets, and tell the neighbour; datagrams go over TCP lanes."""
        of_link = self._of_links.pop(link.number, None)
        for index, lane in of_link.lanes.items() if of_link is not None else ():
            if numbers := lane.numbers():
                link.send(DatagramLane(index, max(numbers), 0, 0, Code.REFUSED))
        self._sockets.leave(link.number)

    def _withdrawn(self, link: Link, message: DatagramLane) -> None:
        """Close the UDP lanes of an index: the neighbour wants none. It says so of itself, or to an offer."""
        lane = self.of_index(link, message.index)
        if lane is None or not lane.numbers():
            self._refused[UNASKED] += 1
            return
        if lane.offered is not None:
            self._refused[REFUSED] += 1
        for number in sorted(lane.numbers()):
            with suppress(DataPlaneRefused):
                self._plane.udp_lane_close(link.number, message.index, number)
        lane.begun = lane.offered = None
        lane.up.clear()
        lane.failed(self._clock.monotonic_ms(), Obstacle.OFF_THERE)
        if not any(each.numbers() for each in self._of(link).lanes.values()):
            self._sockets.leave(link.number)
        if lane.told:
            self._tell_down(link, message.index, lane, WITHDRAWN)

    def _of(self, link: Link) -> _OfLink:
        known = self._of_links.get(link.number)
        if known is None:
            now = self._clock.monotonic_ms()
            bucket = TokenBucket(OFFERS_AT_ONCE * link.lanes, OFFERS_EACH_SECOND * link.lanes, now)
            known = self._of_links[link.number] = _OfLink({}, bucket)
        return known

    def _lane(self, link: Link, index: int) -> IndexUdpLanes:
        return self._of(link).lanes.setdefault(index, IndexUdpLanes())

    # -- hand-over ---------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[UdpSocketHandover, ...]:
        """Return the records of the sockets. Of the lanes the core knows all that is needed."""
        return self._sockets.to_handover()

    def restore(self, handovers: tuple[UdpSocketHandover, ...]) -> None:
        """Go on with the sockets of the process before; they are closed with the links that use them.

        Those links have no control connection: their UDP lanes last until the links that take their place are up.
        """
        self._sockets.restore(handovers)

    def judge_restored(self) -> None:
        """Close the sockets that were restored and that no link uses, or all of them if the file wants none."""
        self._sockets.keep(self._links.keys() if self.is_on else ())
