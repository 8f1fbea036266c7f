"""The catalogue in a hand-over: its entries as records, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pcgrelay.catalogue.entries import (
    Catalogue,
    EntryRefused,
    Paths,
    ReceivedEntry,
    SignedEntry,
    VerifiedEntry,
    decode_entry,
)
from pcgrelay.clock import Clock
from pcgrelay.handover.records import EntryHandover
from pcgrelay.model import NameProblem, NodeId
from pcgrelay.reasons import is_identity


def to_handover(catalogue: Catalogue) -> tuple[EntryHandover, ...]:
    """Return the records of the entries that neighbours sent. What waits is told again by the links that follow."""
    return tuple(
        EntryHandover(
            link=link,
            entry=known.signed.entry,
            signature=known.signed.signature,
            chain=known.signed.chain,
            path=known.path,
            lives_until_ms=known.lives_until_ms,
        )
        for edge in catalogue.edges()
        for link, known in catalogue.ways(edge).items()
    )


def restore(catalogue: Catalogue, paths: Paths, handovers: Sequence[EntryHandover], clock: Clock) -> None:
    """Put the entries that the previous process had verified into an empty catalogue."""
    now_s = int(clock.wall().timestamp())
    for each in handovers:
        signed = SignedEntry(each.entry, each.signature, each.chain)
        # Skip entries that have expired meanwhile.
        with suppress(EntryRefused, NameProblem):
            entry = decode_entry(signed, now_s)
            edge = NodeId.from_uri(entry.edge)
            # An older version did not check the names of relays.
            if not all(map(is_identity, each.path)):
                continue
            lives_ms = each.lives_until_ms or clock.monotonic_ms() + (entry.not_after - now_s) * 1000
            verified = VerifiedEntry(signed, edge, entry.sequence, lives_ms, entry.offers)
            newest = catalogue.newest(edge)
            if newest is not None and newest.signed == signed:
                verified = newest.verified
            catalogue.put(each.link, ReceivedEntry(verified, paths.one(each.link, each.path)))
