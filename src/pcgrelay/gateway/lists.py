"""Revocation lists of a node: which are in force, and what becomes of one that a neighbour brings.

A list that comes is verified and built into a new identity in a thread; then it is swapped in as after a reload, and
what it revokes ends. It is in memory only: a new process gets it by the hand-over, and after a restart the file counts
until the neighbours have told again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable, Iterator

from cryptography import x509

from pcgrelay.admin.validity import ListStatus
from pcgrelay.clock import Clock
from pcgrelay.errors import PcgrelayError
from pcgrelay.handover.node import ListHandover
from pcgrelay.identity.certificates import subject_of
from pcgrelay.identity.lists import ListRefused, RevocationList, anchors_of, read_list
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.link.link import Link
from pcgrelay.log.events import Emit
from pcgrelay.log.list_events import CrlRefused, CrlStays, CrlTaken
from pcgrelay.messages import Object
from pcgrelay.objects.exchange import KIND_LIST, OBJECT_MOST_BYTES, HeldObject

_OLDER = "list_older"


class RevocationLists:
    """The lists of one node, as the exchange of objects sees them."""

    def __init__(
        self,
        local: LocalIdentity,
        lock: asyncio.Lock,
        apply: Callable[[LocalIdentity], None],
        emit: Emit,
        clock: Clock,
    ) -> None:
        """lock: held by whatever replaces the identity. apply: put another identity in force."""
        self._local = local
        self._lock = lock
        self._apply = apply
        self._emit = emit
        self._clock = clock
        self._trust: tuple[x509.Certificate, ...] | None = None
        self._known: dict[bytes, x509.Certificate] = {}
        self._too_large: dict[bytes, bytes] = {}  # by CA, the list of which was told that it does not travel

    def held(self) -> Iterator[HeldObject]:
        """The lists that neighbours are told of: those in their time, and within the bound of what travels."""
        now = self._clock.wall()
        for each in self._local.lists.values():
            if not _travels(each):
                self._say_too_large(each)
            elif each.is_current(now):
                yield HeldObject(KIND_LIST, each.issuer, each.number, each.digest, each.der)

    def _say_too_large(self, each: RevocationList) -> None:
        if self._too_large.get(each.issuer) != each.digest:
            self._too_large[each.issuer] = each.digest
            name, size = self._name(each), len(each.der)
            self._emit(CrlStays(name=name, number=each.number, size_bytes=size, most_bytes=OBJECT_MOST_BYTES))

    def refusal(self, announced: Object) -> str | None:
        """Return None if a list is wanted; "" if it is not newer; else the reason for which it is refused."""
        if announced.name not in self._anchors():
            return "list_of_unknown_ca"
        mine = self._local.lists.get(announced.name)
        if mine is None or announced.epoch > mine.number:
            return None
        return _OLDER if announced.epoch < mine.number else ""

    async def take(self, announced: Object, data: bytes, link: Link) -> str | None:
        """Judge a list and put it in force; return the reason for which it is refused, or None."""
        peer = link.peer.dotted
        try:
            async with self._lock:
                brought = await asyncio.to_thread(self._read, announced, data, peer)
                if brought.replaces(self._local.lists.get(brought.issuer)):
                    self._apply(await asyncio.to_thread(self._local.with_list, brought))
                    self._emit(self._taken(brought))
                elif self.refusal(announced) is None:
                    # Greater in number, and yet it begins before the present one.
                    raise ListRefused(_OLDER)
        except ListRefused as refused:
            self._emit(CrlRefused(peer=peer, reason=refused.reason))
            return refused.reason
        except PcgrelayError:
            self._emit(CrlRefused(peer=peer, reason="bad_list"))
            return "bad_list"
        return None

    def _read(self, announced: Object, data: bytes, peer: str) -> RevocationList:
        if hashlib.sha256(data).digest() != announced.hash:
            raise ListRefused("object_hash")
        brought = read_list(data, peer, self._anchors(), self._clock.wall())
        if (brought.issuer, brought.number) != (announced.name, announced.epoch):
            raise ListRefused("object_mislabelled")
        return brought

    def _taken(self, brought: RevocationList) -> CrlTaken:
        end = brought.crl.next_update_utc
        return CrlTaken(
            name=self._name(brought),
            number=brought.number,
            source=brought.source,
            entries=brought.entries,
            not_after=end.isoformat() if end else "",
        )

    def _name(self, each: RevocationList) -> str:
        anchor = self._anchors()[each.issuer]
        same = [other for other in self._known.values() if other.subject == anchor.subject]
        # Two CAs of one name are told apart by their keys.
        return subject_of(anchor) + (f" ({each.issuer.hex()[:8]})" if len(same) > 1 else "")

    def _anchors(self) -> dict[bytes, x509.Certificate]:
        trust = self._local.credentials.trust
        if trust is not self._trust:
            self._trust, self._known = trust, anchors_of(trust)
        return self._known

    # -- views -------------------------------------------------------------------------------------------------

    def status(self) -> tuple[ListStatus, ...]:
        """Return the lists in force that have a number."""
        return tuple(
            ListStatus(
                name=self._name(each),
                number=each.number,
                source=each.source,
                entries=each.entries,
                not_before=each.crl.last_update_utc,
                not_after=each.crl.next_update_utc,
                travels=_travels(each),
            )
            for each in self._local.lists.values()
        )

    # -- hand-over ---------------------------------------------------------------------------------------------

    def to_handover(self) -> tuple[ListHandover, ...]:
        """Return the lists that neighbours brought."""
        return tuple(ListHandover(data=each.der, source=each.source) for each in self._local.received())

    def restore(self, handovers: Iterable[ListHandover]) -> None:
        """Put the lists of the previous process in force, where the files have no newer ones; nothing runs yet."""
        for handover in handovers:
            try:
                # Also one that is over by now: whom it refuses is let in no more than without the upgrade.
                brought = read_list(handover.data, handover.source, self._anchors(), None)
                if brought.replaces(self._local.lists.get(brought.issuer)):
                    self._local.take(self._local.with_list(brought))
            except PcgrelayError:
                continue  # no longer trusted


def _travels(each: RevocationList) -> bool:
    return len(each.der) <= OBJECT_MOST_BYTES
