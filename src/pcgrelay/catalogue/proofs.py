"""Proofs of what neighbours tell: the form, the dates and the path of an entry, its chain and its signature.

An entry comes over as many links as a relay has neighbours, and is verified once. What one neighbour may have this node
verify has a budget, for a signature is dear; what is beyond it waits (`waiting`).
"""

from __future__ import annotations

from cryptography import x509

from pcgrelay.catalogue.chains import Chain, ChainRequests
from pcgrelay.catalogue.entries import (
    Catalogue,
    Entry,
    EntryRefused,
    Paths,
    ReceivedEntry,
    SignedEntry,
    VerifiedEntry,
    check_names,
    check_size,
    node_of,
    one_certificate,
    open_entry,
    path_refusal,
    verify_entry,
)
from pcgrelay.clock import Clock
from pcgrelay.identity.certificates import Refusal
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.messages import Advert
from pcgrelay.model import NameProblem, NodeId, Role
from pcgrelay.net.ratelimit import TokenBucket

# Entries that a neighbour may have this node verify: a large realm when the link comes up, then the changes. Those
# beyond it wait, and are verified as the budget allows.
PROOFS_AT_ONCE = 2_000
PROOFS_EACH_SECOND = 100


class ProofWaits(Exception):
    """An entry cannot be verified now: its neighbour has used up what it may have this node verify."""

    def __init__(self, edge: NodeId, chain: Chain) -> None:
        super().__init__()
        self.edge = edge
        self.chain = chain  # whole, though the neighbour may have named it by its digest


class EntryProofs:
    """The judge of entries that neighbours of one node send."""

    def __init__(
        self, local: LocalIdentity, catalogue: Catalogue, paths: Paths, chains: ChainRequests, clock: Clock
    ) -> None:
        """paths: held once for each link. chains: finds those that are named by a digest."""
        self._local = local
        self._me = local.config.node.id.uri
        self._catalogue = catalogue
        self._paths = paths
        self._chains = chains
        self._clock = clock
        self._budgets: dict[int, TokenBucket] = {}  # by link

    def prove(self, link: Link, message: Advert) -> ReceivedEntry | None:
        """Return a verified entry. None: its chain is not known here, and was asked for.

        Raises EntryRefused, IdentityRefused, or ProofWaits.
        """
        now_s = int(self._clock.wall().timestamp())
        signed = SignedEntry(message.entry, message.signature, message.chain)
        entry = open_entry(signed, now_s)
        try:
            edge = node_of(entry.edge)
        except NameProblem:
            raise EntryRefused("malformed") from None
        chain = self._chains.whole(link, edge, message.chain)
        if chain is None:
            return None
        if chain is not message.chain:
            signed = SignedEntry(message.entry, message.signature, chain)
            check_size(signed)
        if message.path and link.peer_role is not Role.RELAY:
            raise EntryRefused("not_a_relay")
        if word := path_refusal(message.path, entry.edge, link.peer.uri, self._me):
            raise EntryRefused(word)
        if word := self._catalogue.put_refusal(edge, entry.sequence):
            raise EntryRefused(word)
        newest = self._catalogue.newest(edge)
        if newest is not None and newest.verified.signed == signed:
            # The same entry over another link need not be verified nor held again: that is most of what relays send.
            verified = newest.verified
        else:
            verified = self._verify(link, edge, signed, entry, now_s)
        self._local.skews.hear_entry(edge, entry.sequence, entry.not_after)
        return ReceivedEntry(verified, self._paths.one(link.number, message.path))

    def chain_refusal(self, chain: Chain) -> str | None:
        """Return the reason for which a chain that was trusted is not trusted now, or None."""
        try:
            return self._local.chain_refusal([x509.load_der_x509_certificate(der) for der in chain])
        except Exception:
            return Refusal.MALFORMED

    def link_gone(self, link: Link) -> None:
        """Forget a neighbour."""
        self._budgets.pop(link.number, None)

    def _verify(self, link: Link, edge: NodeId, signed: SignedEntry, entry: Entry, now_s: int) -> VerifiedEntry:
        if not self._spend(link):
            raise ProofWaits(edge, signed.chain)
        check_names(entry)
        verify_entry(signed, entry, lambda chain: self._local.chain_refusal(list(chain)), self._identity)
        lives_until_ms = self._clock.monotonic_ms() + (entry.not_after - now_s) * 1000
        signed = SignedEntry(signed.entry, signed.signature, (signed.chain[0], *map(one_certificate, signed.chain[1:])))
        return VerifiedEntry(signed, edge, entry.sequence, lives_until_ms, entry.offers)

    def _spend(self, link: Link) -> bool:
        """Count a verification; False beyond what a neighbour may cause."""
        now = self._clock.monotonic_ms()
        budget = self._budgets.get(link.number)
        if budget is None:
            budget = self._budgets[link.number] = TokenBucket(PROOFS_AT_ONCE, PROOFS_EACH_SECOND, now)
        return budget.spend(now)

    def _identity(self, leaf: object) -> NodeId:
        return self._local.identity_of(leaf)  # type: ignore[arg-type]
