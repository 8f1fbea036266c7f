"""Identities that two processes bear, found at their neighbours and told to both (docs/protocol.md, 9.11).

Two processes under one identity take turns at being reached, and neither can see the other. So it is a neighbour of
both that finds them, or of one that hears of the other over the catalogue.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pcgrelay.catalogue.entries import Catalogue
from pcgrelay.clock import Clock
from pcgrelay.health.probing import SILENCE_FAILING_MS
from pcgrelay.identity.handshake import TWINS
from pcgrelay.link.link import Link, LinkState
from pcgrelay.log.events import Emit, IdentityTwins
from pcgrelay.messages import Twin
from pcgrelay.model import NameProblem, NodeId, Role

# A new entry of one process reaches this node within this time over each link that works: it is sent over all of them
# at once, and this is room for two retransmissions. With a look each second, twins are told 4 s after both are linked.
BEHIND_MS = 2_500
# A pause of this node counts as one look: what was sent meanwhile waits to be read.
LOOK_MS = 1_000
# Who finds twins says so at each look, as long as they last; what was not said again for so long holds no more.
TOLD_MS = 10_000
TOLD_MOST = 64  # identities that one neighbour may tell of

Behind = tuple[NodeId, int, int]  # identity, number of the link, and sequence of the entry


class TwinWatch:
    """The identities that two processes bear, this node's own among them."""

    def __init__(self, me: NodeId, role: Role, emit: Emit, clock: Clock) -> None:
        self._me = me
        self._is_relay = role is Role.RELAY
        self._emit = emit
        self._clock = clock
        self._behind: dict[Behind, int] = {}  # how long a link has not brought its peer's newest entry
        self._looked_ms = 0
        self._found: set[NodeId] = set()
        self._told: dict[int, dict[NodeId, int]] = {}  # by link: until when what it told of an identity holds
        self._known: set[NodeId] = set()
        self.refused: Counter[str] = Counter()

    @property
    def all(self) -> list[NodeId]:
        """The identities that more than one process bears, sorted."""
        return sorted(self._known)

    def look(self, links: Iterable[Link], catalogue: Catalogue) -> None:
        """Check all links, log what is new, and tell the neighbours; called once a second."""
        links = list(links)
        now = self._clock.monotonic_ms()
        self._look_for_twins(links, catalogue, now)
        self._told = {
            number: held
            for number, told in self._told.items()
            if (held := {identity: until_ms for identity, until_ms in told.items() if until_ms > now})
        }
        peers = {link.peer for link in links}
        told = {identity for held in self._told.values() for identity in held} & {self._me, *peers}
        known = self._found | told
        for identity in sorted(known - self._known):
            self._emit(IdentityTwins(peer=identity.dotted))
        self._known = known
        for link in links:
            self._tell(link)

    def receive(self, link: Link, message: Twin) -> None:
        """Note what a neighbour tells: of this node, or, as a relay, of others. Anything else is counted."""
        try:
            identity = NodeId.from_uri(message.identity)
        except NameProblem:
            self.refused["twin_malformed"] += 1
            return
        told = self._told.get(link.number, {})
        if TWINS not in link.features:
            self.refused["twin_unasked"] += 1
        elif identity != self._me and link.peer_role is not Role.RELAY:
            self.refused["twin_not_a_relay"] += 1
        elif identity not in told and len(told) >= TOLD_MOST:
            self.refused["twin_too_many"] += 1
        else:
            self._told[link.number] = told | {identity: self._clock.monotonic_ms() + TOLD_MS}

    def link_down(self, link: Link) -> None:
        """Forget what a neighbour told."""
        self._told.pop(link.number, None)

    def _tell(self, link: Link) -> None:
        """Tell a neighbour of its own twin, whoever found it; and, as a relay, another relay of all found here."""
        if TWINS not in link.features or not link.controlled:
            return
        names = set(self._found) if self._is_relay and link.peer_role is Role.RELAY else set()
        others = (told for number, told in self._told.items() if number != link.number)
        if link.peer in self._found or any(link.peer in told for told in others):
            names.add(link.peer)
        for identity in sorted(names)[:TOLD_MOST]:
            link.send(Twin(identity.uri))

    def _look_for_twins(self, links: Iterable[Link], catalogue: Catalogue, now: int) -> None:
        """Find twins. A process sends its newest entry over all its links: two lasting entries are of two processes.

        The newer one may have come over another neighbour. A link that is not heard proves nothing: its process may
        have ended, or its path be broken. One that brings a new entry, even if not the newest, is not behind for long.
        """
        step = min(now - self._looked_ms, LOOK_MS)
        self._looked_ms = now
        behind: dict[Behind, int] = {}
        for link in links:
            known, newest = catalogue.ways(link.peer).get(link.number), catalogue.newest(link.peer)
            if known is None or newest is None or known.path or not _is_heard(link):
                continue
            if known.sequence < newest.sequence:
                key = (link.peer, link.number, known.sequence)
                behind[key] = self._behind.get(key, -step) + step
        self._behind = behind
        self._found = {peer for (peer, _, _), behind_ms in behind.items() if behind_ms >= BEHIND_MS}


def _is_heard(link: Link) -> bool:
    """Whether a process is there that keeps this link and means to go on with it."""
    is_kept = link.state is LinkState.UP and not link.replaced and not link.draining
    return is_kept and link.probing.silent_ms < SILENCE_FAILING_MS
