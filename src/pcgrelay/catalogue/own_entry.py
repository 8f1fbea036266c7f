"""The entry of this node itself: when it is signed, what it says, and who has been told of it.

It is renewed at half of its life, after the clock was set, and when the node has been linked to other relays for a
while.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from pcgrelay.catalogue.chains import Chain, named
from pcgrelay.catalogue.entries import RELAYS_NAMED_MOST, Offer, SignedEntry, sign_entry
from pcgrelay.clock import Clock
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.messages import Advert
from pcgrelay.model import Role

LIFE_S = 1_800
CLOCK_JUMP_MS = 5_000
# After it, for a neighbour whose clock was set at another moment may have refused the entry by its dates.
RENEW_JUMPED_MS = 60_000
# The relays that the own entry names are told anew only after others have been there for once to twice as long.
RELAYS_STEADY_MS = 10_000

_random = random.SystemRandom()


class OwnEntry:
    """The entry of one node. It is told to all neighbours whenever it is signed."""

    def __init__(self, local: LocalIdentity, links: Mapping[int, Link], clock: Clock) -> None:
        self._local = local
        self._links = links
        self._clock = clock
        self.offers: tuple[Offer, ...] = ()
        self.sequence = 0
        self._signed: SignedEntry | None = None
        self._told: dict[int, Chain] = {}  # by link: the chain of the entry that it has
        self._offset_ms = 0  # of the wall clock from the monotonic one, when it was signed
        self._renew_ms = 0
        self._relays: tuple[str, ...] = ()  # those that it names
        self._relays_seen: tuple[str, ...] = ()  # others, since when, and how long they must stay
        self._relays_due_ms = 0

    @property
    def is_signed(self) -> bool:
        """Whether there is one, even one without services."""
        return self._signed is not None

    def offer(self, offers: Sequence[Offer]) -> None:
        """Sign an entry with these services and send it to all neighbours."""
        self.offers = tuple(offers)
        self._sign()
        for link in self._links.values():
            self.tell(link)

    def link_up(self, link: Link) -> None:
        """Tell a new neighbour."""
        if self.is_signed and self._has_clock_jumped():
            # A new neighbour would find its dates wrong.
            self.offer(self.offers)
        self.tell(link)

    def link_gone(self, link: Link) -> None:
        """Forget what a neighbour was told."""
        self._told.pop(link.number, None)

    def tell(self, link: Link) -> None:
        """Send the entry to a neighbour."""
        if self._signed is not None and link.controlled:
            told = self._told.get(link.number)
            self._told[link.number] = self._signed.chain
            link.send(Advert(self._signed.entry, self._signed.signature, named(link, self._signed.chain, told), ()))

    def tell_whole(self, link: Link) -> None:
        """Send the entry to a neighbour once more, with the whole chain."""
        self._told.pop(link.number, None)
        self.tell(link)

    def tick(self) -> None:
        """Renew the entry if that is due; called once a second."""
        now_ms = self._clock.monotonic_ms()
        if self.is_signed and (now_ms >= self._renew_ms or self._has_other_relays(now_ms)):
            self.offer(self.offers)

    def _wall_offset_ms(self) -> int:
        return int(self._clock.wall().timestamp() * 1000) - self._clock.monotonic_ms()

    def _has_clock_jumped(self) -> bool:
        """Whether the clock was set after the entry was signed."""
        return abs(self._wall_offset_ms() - self._offset_ms) > CLOCK_JUMP_MS

    def _linked_relays(self) -> tuple[str, ...]:
        """The relays that this edge is linked to, as its entry names them."""
        found = {
            link.peer.uri
            for link in self._links.values()
            if link.peer_role is Role.RELAY and link.lanes_up and not link.draining
        }
        return tuple(sorted(found)[:RELAYS_NAMED_MOST])

    def _has_other_relays(self, now_ms: int) -> bool:
        """Whether the entry names others than it should, and these have been there for a while.

        Nothing is decided by them, so a link that flaps makes no entry, and edges that lose one relay do not all sign
        at once.
        """
        relays = self._linked_relays()
        if relays != self._relays_seen:
            self._relays_seen = relays
            self._relays_due_ms = now_ms + int(_random.uniform(1, 2) * RELAYS_STEADY_MS)
        return relays != self._relays and now_ms >= self._relays_due_ms

    def _sign(self) -> None:
        now = self._clock.wall()
        now_s = int(now.timestamp())
        self.sequence = max(self.sequence + 1, int(now.timestamp() * 1000))
        has_jumped = self.is_signed and self._has_clock_jumped()
        self._renew_ms = self._clock.monotonic_ms() + (RENEW_JUMPED_MS if has_jumped else LIFE_S * 1000 // 2)
        self._offset_ms = self._wall_offset_ms()
        self._relays = self._linked_relays()
        self._signed = sign_entry(
            self._local.config.node.id,
            self.offers,
            sequence=self.sequence,
            not_after=now_s + LIFE_S,
            key=self._local.credentials.key,
            chain=self._local.chain,
            relays=self._relays,
        )
