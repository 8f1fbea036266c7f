"""Exchange of the catalogue with neighbours: sends the own entry, receives others (docs/protocol.md, 9.4).

`propagation` has how a relay passes entries on.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache

from cryptography import x509

from pcgrelay.catalogue.chains import Chain, ChainRequests, named
from pcgrelay.catalogue.entries import (
    OTHER,
    REASONS,
    RELAYS_NAMED_MOST,
    Catalogue,
    EntryRefused,
    Offer,
    Paths,
    ReceivedEntry,
    SignedEntry,
    VerifiedEntry,
    check_names,
    node_of,
    one_certificate,
    open_entry,
    path_refusal,
    sign_entry,
    verify_entry,
)
from pcgrelay.catalogue.interest import UNASKED as WANT_UNASKED
from pcgrelay.catalogue.interest import Interests
from pcgrelay.catalogue.propagation import CataloguePropagation
from pcgrelay.catalogue.restore import restore, to_handover
from pcgrelay.catalogue.waiting import WaitingAdverts
from pcgrelay.clock import Clock
from pcgrelay.handover.records import EntryHandover
from pcgrelay.identity.certificates import IdentityRefused, Refusal
from pcgrelay.identity.handshake import INTEREST
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.choice import Candidate, choose
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit, Failure
from pcgrelay.log.events import EntryRefused as EntryRefusedRecord
from pcgrelay.log.throttle import Throttle
from pcgrelay.messages import Advert, AdvertGet, Want, Withdraw
from pcgrelay.model import NameProblem, NodeId, Role
from pcgrelay.net.ratelimit import TokenBucket
from pcgrelay.policy.clearances import LOWEST
from pcgrelay.reasons import is_identity

LIFE_S = 1_800
# Entries that a neighbour may have this node verify: a large realm when the link comes up, then the changes. Those
# beyond it wait, and are verified as the budget allows.
PROOFS_AT_ONCE = 2_000
PROOFS_EACH_SECOND = 100
# Of all that wait; one that another link has brought meanwhile needs no verification.
WAITING_EACH_SECOND = 1_000
LINE_INTERVAL_MS = 10_000
ENTRY_REASONS = REASONS | frozenset(Refusal)
CLOCK_JUMP_MS = 5_000
# After it, for a neighbour whose clock was set at another moment may have refused the entry by its dates.
RENEW_JUMPED_MS = 60_000
# The relays that the own entry names are told anew only after others have been there for once to twice as long.
RELAYS_STEADY_MS = 10_000
# A change of the catalogue has all imports or paths checked again, so it is reported at most this often.
CHANGED_INTERVAL_MS = 100

CatalogueMessage = Advert | Withdraw | Want | AdvertGet

_random = random.SystemRandom()


class _ProofWaits(Exception):
    """An entry cannot be verified now: its neighbour has used up what it may have this node verify."""

    def __init__(self, edge: NodeId, chain: tuple[bytes, ...]) -> None:
        super().__init__()
        self.edge = edge
        self.chain = chain  # whole, though the neighbour may have named it by its digest


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
        self._offers: tuple[Offer, ...] = ()
        self._want: Want | None = None
        self._own: SignedEntry | None = None
        self._own_told: dict[int, Chain] = {}  # by link: the chain of the own entry that it has
        self._own_sequence = 0
        self._own_offset_ms = 0  # of the wall clock from the monotonic one, when it was signed
        self._renew_ms = 0
        self._own_relays: tuple[str, ...] = ()  # those that the own entry names
        self._relays_seen: tuple[str, ...] = ()  # others, since when, and how long they must stay
        self._relays_due_ms = 0
        self._throttle = Throttle(LINE_INTERVAL_MS)
        self._proofs: dict[int, TokenBucket] = {}  # by link
        self._paths = Paths()
        self._waiting = WaitingAdverts()
        self._changed_ms = 0
        self._change_waits = False
        self._passes_on = local.config.node.role is Role.RELAY
        self._chains = ChainRequests(self.catalogue, self.refused, clock)
        self._interests = Interests(self.refused, clock)
        self._propagation = CataloguePropagation(
            local, self.catalogue, links if self._passes_on else {}, self._interests, self._count, clock
        )

    @property
    def has_offered(self) -> bool:
        """Whether this node has an entry of its own, even one without services."""
        return self._own is not None

    def offer(self, offers: Sequence[Offer]) -> None:
        """Sign an entry with these services and send it to all neighbours."""
        self._offers = tuple(offers)
        self._sign()
        for link in self._links.values():
            self._tell_own(link)

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
        judged = cache(self._chain_refusal)
        for edge in list(self.catalogue.edges()):
            for number, known in list(self.catalogue.ways(edge).items()):
                if word := judged(known.signed.chain):
                    self._count(word)
                    self.catalogue.withdraw(number, edge)
            self._propagation.tell_all(edge)
        if self._own is not None:
            self.offer(self._offers)
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

    def link_up(self, link: Link) -> None:
        """Send a new neighbour the own entry and, as a relay, all others."""
        if self._own is not None and abs(self._wall_offset_ms() - self._own_offset_ms) > CLOCK_JUMP_MS:
            # The clock was set after the entry was signed: a new neighbour would find its dates wrong.
            self.offer(self._offers)
        self._tell_want(link)
        self._tell_own(link)
        if self._passes_on:
            self._interests.link_up(link)
            self._propagation.tell_link(link)

    def link_has_room(self, link: Link) -> None:
        """Go on with what was put off, now that a neighbour has read what was queued for it."""
        self._propagation.link_has_room(link)

    def link_unusable(self, link: Link) -> None:
        """Note that this link accepts no new paths. Its entries stay until it is down."""
        for edge in [edge for edge in self.catalogue.edges() if link.number in self.catalogue.ways(edge)]:
            self._propagation.changed(edge)
        self._changed()

    def link_down(self, link: Link) -> None:
        """Forget the entries that this neighbour sent, and those that were sent to it."""
        self._proofs.pop(link.number, None)
        self._paths.link_gone(link.number)
        self._own_told.pop(link.number, None)
        self._chains.link_gone(link)
        self._interests.link_gone(link)
        self._waiting.link_gone(link.number)
        self._propagation.link_gone(link)
        for edge in self.catalogue.link_gone(link.number):
            self._propagation.changed(edge)
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
            chain = self._chains.whole(link, message)
            if chain is None:
                return True
            known = self._proved(link, SignedEntry(message.entry, message.signature, chain), message.path)
        except _ProofWaits as late:
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
            self._waiting.drop(link.number, known.edge)
            before = self.catalogue.ways(known.edge).get(link.number)
            if before is not None and (before.signed, before.path) == (known.signed, known.path):
                self._count("advert_repeated")
            else:
                self.catalogue.put(link.number, known)
                self._propagation.changed(known.edge)
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
        now_ms = self._clock.monotonic_ms()
        expired = self.catalogue.expire(now_ms)
        for edge in expired:
            self._propagation.changed(edge)
        if expired:
            self._changed()
        for number in self._interests.due():
            if (link := self._links.get(number)) is not None:
                self._propagation.tell_link(link)
        self._take_waiting()
        self._propagation.tick()
        if self._own is not None and (now_ms >= self._renew_ms or self._has_other_relays(now_ms)):
            self.offer(self._offers)

    def _proved(self, link: Link, signed: SignedEntry, path: tuple[str, ...]) -> ReceivedEntry:
        now_s = int(self._clock.wall().timestamp())
        entry = open_entry(signed, now_s)
        if path and link.peer_role is not Role.RELAY:
            raise EntryRefused("not_a_relay")
        if word := path_refusal(path, entry.edge, link.peer.uri, self._me.uri):
            raise EntryRefused(word)
        try:
            edge = node_of(entry.edge)
        except NameProblem:
            raise EntryRefused("malformed") from None
        if word := self.catalogue.put_refusal(edge, entry.sequence):
            raise EntryRefused(word)
        path = self._paths.one(link.number, path)
        newest = self.catalogue.newest(edge)
        if newest is not None and newest.signed == signed:
            # The same entry over another link need not be verified nor held again: that is most of what relays send.
            self._local.skews.hear_entry(edge, entry.sequence, entry.not_after)
            return ReceivedEntry(newest.verified, path)
        if not self._spend_proof(link):
            raise _ProofWaits(edge, signed.chain)
        check_names(entry)
        verify_entry(signed, entry, lambda chain: self._local.chain_refusal(list(chain)), self._identity)
        self._local.skews.hear_entry(edge, entry.sequence, entry.not_after)
        lives_until_ms = self._clock.monotonic_ms() + (entry.not_after - now_s) * 1000
        signed = SignedEntry(signed.entry, signed.signature, (signed.chain[0], *map(one_certificate, signed.chain[1:])))
        return ReceivedEntry(VerifiedEntry(signed, edge, entry.sequence, lives_until_ms, entry.offers), path)

    def _spend_proof(self, link: Link) -> bool:
        """Count a verification, which is expensive; False beyond what a neighbour may cause."""
        now = self._clock.monotonic_ms()
        bucket = self._proofs.get(link.number)
        if bucket is None:
            bucket = self._proofs[link.number] = TokenBucket(PROOFS_AT_ONCE, PROOFS_EACH_SECOND, now)
        return bucket.spend(now)

    def _chain_refusal(self, chain: tuple[bytes, ...]) -> str | None:
        try:
            return self._local.chain_refusal([x509.load_der_x509_certificate(der) for der in chain])
        except Exception:
            return Refusal.MALFORMED

    def _identity(self, leaf: object) -> NodeId:
        return self._local.identity_of(leaf)  # type: ignore[arg-type]

    def _withdrawn(self, link: Link, message: Withdraw) -> None:
        try:
            edge = node_of(message.edge)
        except NameProblem:
            self._refused(link, "malformed")
            return
        self._waiting.drop(link.number, edge)
        if self.catalogue.withdraw(link.number, edge):
            self._propagation.changed(edge)
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

    # -- sending -----------------------------------------------------------------------------------------------

    def _wall_offset_ms(self) -> int:
        return int(self._clock.wall().timestamp() * 1000) - self._clock.monotonic_ms()

    def _relays(self) -> tuple[str, ...]:
        """The relays that this edge is linked to, as its entry names them."""
        found = {
            link.peer.uri
            for link in self._links.values()
            if link.peer_role is Role.RELAY and link.lanes_up and not link.draining
        }
        return tuple(sorted(found)[:RELAYS_NAMED_MOST])

    def _has_other_relays(self, now_ms: int) -> bool:
        """Whether the own entry names others than it should, and these have been there for a while.

        Nothing is decided by them, so a link that flaps makes no entry, and edges that lose one relay do not all sign
        at once.
        """
        relays = self._relays()
        if relays != self._relays_seen:
            self._relays_seen = relays
            self._relays_due_ms = now_ms + int(_random.uniform(1, 2) * RELAYS_STEADY_MS)
        return relays != self._own_relays and now_ms >= self._relays_due_ms

    def _sign(self) -> None:
        now = self._clock.wall()
        now_s = int(now.timestamp())
        self._own_sequence = max(self._own_sequence + 1, int(now.timestamp() * 1000))
        offset_ms = self._wall_offset_ms()
        has_jumped = self._own is not None and abs(offset_ms - self._own_offset_ms) > CLOCK_JUMP_MS
        self._renew_ms = self._clock.monotonic_ms() + (RENEW_JUMPED_MS if has_jumped else LIFE_S * 1000 // 2)
        self._own_offset_ms = offset_ms
        self._own_relays = self._relays()
        self._own = sign_entry(
            self._me,
            self._offers,
            sequence=self._own_sequence,
            not_after=now_s + LIFE_S,
            key=self._local.credentials.key,
            chain=self._local.chain,
            relays=self._own_relays,
        )

    def _tell_own(self, link: Link) -> None:
        if self._own is not None and link.controlled:
            told = self._own_told.get(link.number)
            self._own_told[link.number] = self._own.chain
            link.send(Advert(self._own.entry, self._own.signature, named(link, self._own.chain, told), ()))

    def _asked_for(self, link: Link, message: AdvertGet) -> None:
        """Send an entry once more, with its whole chain; nothing if the neighbour is told nothing of that edge."""
        if not self._chains.answers(link):
            return
        if message.edge == self._me.uri:
            self._own_told.pop(link.number, None)
            self._tell_own(link)
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
