"""Exchange of the catalogue with neighbours: what is received, when it is reported, and the routes that it gives.

`proofs` verifies what neighbours tell, `own_entry` has the entry of this node, and `propagation` how a relay passes
others on (docs/protocol.md, 9.4).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from pcgrelay.catalogue.chains import ChainRequests
from pcgrelay.catalogue.entries import (
    OTHER,
    REASONS,
    Catalogue,
    EntryRefused,
    Offer,
    Paths,
    node_of,
)
from pcgrelay.catalogue.interest import UNASKED as WANT_UNASKED
from pcgrelay.catalogue.interest import Interests
from pcgrelay.catalogue.own_entry import OwnEntry
from pcgrelay.catalogue.proofs import EntryProofs, ProofWaits
from pcgrelay.catalogue.propagation import CataloguePropagation
from pcgrelay.catalogue.restore import restore, to_handover
from pcgrelay.catalogue.waiting import WaitingAdverts
from pcgrelay.clock import Clock
from pcgrelay.handover.records import EntryHandover
from pcgrelay.identity.certificates import IdentityRefused, Refusal
from pcgrelay.identity.handshake import INTEREST
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.choice import Candidate, choose
from pcgrelay.link.coming import is_coming
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, Failure
from pcgrelay.log.events import EntryRefused as EntryRefusedRecord
from pcgrelay.log.throttle import Throttle
from pcgrelay.messages import Advert, AdvertGet, Want, Withdraw
from pcgrelay.model import NameProblem, NodeId, Role
from pcgrelay.policy.clearances import LOWEST
from pcgrelay.reasons import is_identity

# Of all that wait; one that another link has brought meanwhile needs no verification.
WAITING_EACH_SECOND = 1_000
LINE_INTERVAL_MS = 10_000
ENTRY_REASONS = REASONS | frozenset(Refusal)
# A change of the catalogue has all imports or paths checked again, so it is reported at most this often.
CHANGED_INTERVAL_MS = 100

CatalogueMessage = Advert | Withdraw | Want | AdvertGet


class CatalogueExchange:
    """The catalogue of one node and its exchange with the neighbours."""

    def __init__(
        self,
        local: LocalIdentity,
        links: dict[int, Link],
        load: Callable[[Link], int],
        changed: Callable[[], None],
        emit: Emit,
        clock: Clock,
    ) -> None:
        """load: how many paths use a link. changed: called when an edge came, went or changed its entry."""
        self.catalogue = Catalogue()
        self.refused: Counter[str] = Counter()
        self._local = local
        self._me = local.config.node.id
        self._links = links
        self._load = load
        self._changed = changed
        self._emit = emit
        self._clock = clock
        self.own = OwnEntry(local, links, clock)
        self._want: Want | None = None
        self._throttle = Throttle(LINE_INTERVAL_MS)
        self._paths = Paths()
        self._waiting = WaitingAdverts()
        self._changed_ms = 0
        self._change_waits = False
        self._passes_on = local.config.node.role is Role.RELAY
        self._chains = ChainRequests(self.catalogue, self.refused, clock)
        self._proofs = EntryProofs(local, self.catalogue, self._paths, self._chains, clock)
        self._interests = Interests(self.refused, clock)
        self._propagation = CataloguePropagation(
            local, self.catalogue, links if self._passes_on else {}, self._interests, self._count, clock, _call_later
        )

    @property
    def has_offered(self) -> bool:
        """Whether this node has an entry of its own, even one without services."""
        return self.own.is_signed

    def offer(self, offers: Sequence[Offer]) -> None:
        """Sign an entry with these services and send it to all neighbours."""
        self.own.offer(offers)

    def want(self, message: Want) -> None:
        """Tell the relays what this edge needs of the catalogue, if it is something else than before."""
        if message != self._want:
            self._want = message
            for link in self._links.values():
                self._tell_want(link)

    def to_handover(self) -> tuple[EntryHandover, ...]:
        """Return the hand-over records of the entries that neighbours sent."""
        return to_handover(self.catalogue)

    def restore(self, handovers: Sequence[EntryHandover]) -> None:
        """Restore the entries that the previous process had verified; `reload` judges them by the present trust."""
        restore(self.catalogue, self._paths, handovers, self._clock)

    def reload(self) -> None:
        """Judge all entries again, sign again and update all neighbours, after trust or members have changed.

        An entry that was signed under a certificate that is no longer trusted is removed, whichever link sent it. An
        entry of the same edge under a newer certificate stays.
        """
        judged = cache(self._proofs.chain_refusal)
        for edge in list(self.catalogue.edges()):
            for number, known in list(self.catalogue.ways(edge).items()):
                if word := judged(known.signed.chain):
                    self._count(word)
                    self.catalogue.withdraw(number, edge)
            self._propagation.tell_all(edge)
        if self.own.is_signed:
            self.own.offer(self.own.offers)
        self._changed()

    def clearances_changed(self) -> None:
        """Announce what may be taken now, after clearances or bearers have changed."""
        for edge in list(self.catalogue.edges()):
            self._propagation.changed(edge)
        self._changed()

    def route(self, edge: NodeId, wanted: Callable[[Link], bool], marking: int = LOWEST) -> Link | None:
        """Return the best link to an edge among those that accept new paths and for which `wanted` is true, or None.

        All of them are cleared for the marking. A draining edge is still reached over its own link: its sessions may
        need a path until they end.
        """
        chosen = choose(self.candidates(edge, lambda link: link.usable and wanted(link), marking)) or choose(
            self.candidates(edge, lambda link: link.able and link.peer == edge and wanted(link), marking)
        )
        return self._links[chosen.number] if chosen else None

    def better(self, edge: NodeId, link: Link, wanted: Callable[[Link], bool], marking: int = LOWEST) -> bool:
        """Whether a move is worth while: another link is well and this one is not, or it has a better precedence.

        A shorter path, less load or a lower round trip is no reason: what is far away may change at any time.
        """
        chosen = choose(self.candidates(edge, lambda each: each.usable and wanted(each), marking))
        if chosen is None or chosen.number == link.number or not chosen.is_well:
            return False
        return not link.is_well or chosen.precedence < link.standing.settings.precedence

    def relays_behind(self, edge: NodeId, link: Link) -> tuple[str, ...]:
        """Return the relays on the way to an edge as the neighbour on a link announces them; itself is the last."""
        known = self.catalogue.ways(edge).get(link.number)
        return () if known is None else known.path

    def candidates(self, edge: NodeId, wanted: Callable[[Link], bool], marking: int = LOWEST) -> list[Candidate]:
        """Return the links over which an edge is reached, with all that decides between them."""
        found = []
        clearances = self._local.clearances
        for number, known in self.catalogue.ways(edge).items():
            link = self._links.get(number)
            if link is not None and wanted(link):
                found.append(
                    Candidate(
                        number=number,
                        relays=len(known.path),
                        precedence=link.standing.settings.precedence,
                        weight=link.standing.settings.weight,
                        is_well=link.is_steady,
                        load=self._load(link),
                        round_trip_ms=link.probing.round_trip_ms,
                        is_cleared=clearances.clears(marking, link.bearer, known.path),
                    )
                )
        return found

    def awaits_way(self, edge: NodeId, wanted: Callable[[Link], bool], marking: int = LOWEST) -> bool:
        """Whether a cleared way to an edge may be there in a moment, over a link that is made anew or came up just now.

        wanted: whether a link may be used.
        """
        ways, clears, now = self.catalogue.ways(edge), self._local.clearances.clears, self._clock.monotonic_ms()
        for link in self._links.values():
            known = ways.get(link.number)
            if known is None and link.peer_role is not Role.RELAY and link.peer != edge:
                continue
            relays = known.path if known else () if link.peer == edge else (link.peer.uri,)
            if (
                is_coming(link, now, is_told=known is not None)
                and clears(marking, link.bearer, relays)
                and wanted(link)
            ):
                return True
        return False

    def link_up(self, link: Link) -> None:
        """Send a new neighbour the own entry and, as a relay, all others."""
        self._tell_want(link)
        self.own.link_up(link)
        if self._passes_on:
            self._interests.link_up(link)
            self._propagation.tell_link(link)

    def link_has_room(self, link: Link) -> None:
        """Go on with what was put off, now that a neighbour has read what was queued for it."""
        self._propagation.link_has_room(link)

    def link_unusable(self, link: Link) -> None:
        """Note that this link accepts no new paths. Its entries stay until it is down."""
        for edge in [edge for edge in self.catalogue.edges() if link.number in self.catalogue.ways(edge)]:
            self._propagation.changed(edge, link.number)
        self._changed()

    def link_down(self, link: Link) -> None:
        """Forget the entries that this neighbour sent, and those that were sent to it."""
        self._proofs.link_gone(link)
        self._paths.link_gone(link.number)
        self.own.link_gone(link)
        self._chains.link_gone(link)
        self._interests.link_gone(link)
        self._waiting.link_gone(link.number)
        self._propagation.link_gone(link)
        for edge in self.catalogue.link_gone(link.number):
            self._propagation.changed(edge, link.number)
        self._changed()

    def receive(self, link: Link, message: CatalogueMessage) -> None:
        """Handle a message about the catalogue. What is refused is counted; it never ends the link."""
        if isinstance(message, Advert):
            if not self._advertised(link, message):
                self._count("advert_waits")
        elif isinstance(message, Withdraw):
            self._withdrawn(link, message)
        elif isinstance(message, AdvertGet):
            self._asked_for(link, message)
        elif not self._passes_on:
            self._count(WANT_UNASKED)
        elif self._interests.receive(link, message) is not None:
            self._propagation.tell_link(link)

    def _advertised(self, link: Link, message: Advert) -> bool:
        """Verify and store an entry, or refuse it. False: it waits, for its neighbour may have no more verified now."""
        try:
            known = self._proofs.prove(link, message)
            if known is None:
                return True
        except ProofWaits as late:
            if self._waiting.put(
                link.number, late.edge, Advert(message.entry, message.signature, late.chain, message.path)
            ):
                return False
            self._refused(link, "advert_budget")
        except EntryRefused as refused:
            self._refused(link, refused.reason, refused.seconds)
        except IdentityRefused as refused:
            self._refused(link, refused.reason)
        except Exception:
            # A member wrote the entry: the neighbour that passed it on must not lose the link for an error here.
            self._refused(link, OTHER)
        else:
            edge = known.verified.edge
            self._waiting.drop(link.number, edge)
            before = self.catalogue.ways(edge).get(link.number)
            if before is not None and (before.signed, before.path) == (known.signed, known.path):
                self._count("advert_repeated")
            else:
                self.catalogue.put(link.number, known)
                self._propagation.changed(edge, link.number)
                self._changed_soon()
        return True

    def _take_waiting(self) -> None:
        """Go on with adverts that had to wait, as far as their neighbours' budgets allow by now."""
        left = WAITING_EACH_SECOND
        for number in self._waiting.links():
            if (link := self._links.get(number)) is None:
                continue
            for edge, message in self._waiting.of(number)[:left]:
                if not self._advertised(link, message):
                    break
                self._waiting.drop(number, edge)
                left -= 1

    def tick(self) -> None:
        """Remove expired entries and renew the own one at half of its life; called once a second."""
        expired = self.catalogue.expire(self._clock.monotonic_ms())
        for edge in expired:
            self._propagation.changed(edge)
        if expired:
            self._changed()
        for number in self._interests.due():
            if (link := self._links.get(number)) is not None:
                self._propagation.tell_link(link)
        self._take_waiting()
        self._propagation.tick()
        self.own.tick()

    def _withdrawn(self, link: Link, message: Withdraw) -> None:
        try:
            edge = node_of(message.edge)
        except NameProblem:
            self._refused(link, "malformed")
            return
        self._waiting.drop(link.number, edge)
        if self.catalogue.withdraw(link.number, edge):
            self._propagation.changed(edge, link.number)
            self._changed_soon()

    def _changed_soon(self) -> None:
        """Report a change at once, but further ones at most every CHANGED_INTERVAL_MS."""
        left_ms = self._changed_ms + CHANGED_INTERVAL_MS - self._clock.monotonic_ms()
        if left_ms <= 0:
            self._change_seen()
        elif not self._change_waits:
            self._change_waits = True
            asyncio.get_running_loop().call_later(left_ms / 1000, self._change_seen)

    def _change_seen(self) -> None:
        self._change_waits = False
        self._changed_ms = self._clock.monotonic_ms()
        try:
            self._changed()
        except Exception as error:
            # An error in what follows here is not the fault of the neighbour whose message is being handled.
            self._emit(Failure(where="catalogue", error=type(error).__name__))

    def _asked_for(self, link: Link, message: AdvertGet) -> None:
        """Send an entry once more, with its whole chain; nothing if the neighbour is told nothing of that edge."""
        if not self._chains.answers(link):
            return
        if message.edge == self._me.uri:
            self.own.tell_whole(link)
        elif is_identity(message.edge):
            self._propagation.tell_whole(link, node_of(message.edge))

    def _tell_want(self, link: Link) -> None:
        if self._want is not None and link.controlled and link.peer_role is Role.RELAY and INTEREST in link.features:
            link.send(self._want)

    def _count(self, reason: str) -> None:
        self.refused[reason] += 1

    def _refused(self, link: Link, reason: str, seconds: int | None = None) -> None:
        reason = str(reason) if reason in ENTRY_REASONS else OTHER
        self._count(reason)
        suppressed = self._throttle.admit(f"{link.number} {reason}", self._clock.monotonic_ms())
        if suppressed is not None:
            self._emit(
                EntryRefusedRecord(
                    peer=link.peer.dotted, edge="", reason=reason, seconds=seconds, suppressed=suppressed
                )
            )


def _call_later(milliseconds: int, act: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(milliseconds / 1000, act)
