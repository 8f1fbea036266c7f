"""The exchange of signed objects with neighbours (docs/protocol.md, 9.10; docs/decisions/0015).

Each node tells its neighbours which version of an object it has (OBJECT: kind, name, epoch, hash, size). Who has an
older one asks for it piece by piece (OBJECT_GET), so the receiver sets the pace, and what it never asked for costs it
one message. When all pieces are there, `ObjectStore` judges the whole, in a thread; what is taken is told on.

Invariants. An object is told on only after it was taken, so a forged one goes no further than its first receiver. The
epoch of what is taken only rises, so telling ends: each node tells each version once to each neighbour. There is one
transfer for each link, and over all links at most PARALLEL_MOST of one object and TRANSFERS_MOST, each with a deadline:
a neighbour that is slow or lies takes up its own place, others are asked beside it, and who has waited longest is next.
A newer version ends the transfer of an older one, so what is changed twice is not waited for. What is taken makes a
node judge all of its peers again, so of one object at most CHANGES_AT_ONCE versions are taken, and then one in ten
seconds: the newest that is offered then. Who asks gets at most
ANSWERS_EACH_SECOND_BYTES, and only the last of its requests is kept.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from pcgrelay.clock import Clock
from pcgrelay.identity.handshake import BUNDLES, OBJECTS
from pcgrelay.link.control import ROOM_BYTES
from pcgrelay.link.link import Link
from pcgrelay.messages import PIECE_LIMIT_BYTES, Object, ObjectGet, ObjectPiece
from pcgrelay.net.ratelimit import TokenBucket

KIND_LIST, KIND_BUNDLE = 1, 2
FEATURES = {KIND_BUNDLE: BUNDLES}  # of kinds that not every neighbour knows that has OBJECTS
OBJECT_MOST_BYTES = 1 << 20
PARALLEL_MOST = 8
TRANSFERS_MOST = 32
PIECE_MS = 5_000
TRANSFER_MS = 60_000
# Transfers that one neighbour may cause: a CA that revokes many nodes one by one, then one in two seconds.
TRANSFERS_AT_ONCE = 8
TRANSFERS_EACH_SECOND = 0.5
# Versions of one object that are taken, whoever brings them.
CHANGES_AT_ONCE = 8
CHANGES_EACH_SECOND = 0.1
ANSWERS_AT_ONCE_BYTES = 2 * OBJECT_MOST_BYTES
ANSWERS_EACH_SECOND_BYTES = 524_288
TOLD_AGAIN_MS = 600_000  # to neighbours that could not take it when it was told

Key = tuple[int, bytes]  # kind and name
Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


@dataclass(frozen=True, slots=True)
class HeldObject:
    """A version of an object that this node has taken."""

    kind: int
    name: bytes
    epoch: int
    digest: bytes
    data: bytes


class ObjectStore(Protocol):
    """What this node has, and what it would take."""

    def held(self) -> Iterable[HeldObject]:
        """The objects to tell neighbours of."""

    def refusal(self, announced: Object) -> str | None:
        """Return None if a version is wanted; "" if it is not newer; else the reason for which it is refused."""

    async def take(self, announced: Object, data: bytes, link: Link) -> str | None:
        """Judge a whole object and take it; return the reason for which it is refused, or None."""


@dataclass(slots=True)
class Transfer:
    """A version of an object on its way here, or being judged."""

    announced: Object
    began_ms: int
    heard_ms: int
    data: bytearray = field(default_factory=bytearray)
    is_whole: bool = False

    def is_late(self, now_ms: int) -> bool:
        """Whether the neighbour has not sent it in time."""
        return now_ms - self.heard_ms > PIECE_MS or now_ms - self.began_ms > TRANSFER_MS


@dataclass(slots=True)
class Neighbour:
    """What is known of one neighbour."""

    link: Link
    transfers: TokenBucket
    answers: TokenBucket
    told_ms: int
    began_ms: int = 0  # its last transfer
    told: dict[Key, bytes] = field(default_factory=dict)  # hashes
    offered: dict[Key, Object] = field(default_factory=dict)  # what it has and is wanted here
    transfer: Transfer | None = None
    ended: bytes = b""  # hash of the transfer that ended last: pieces may still come
    asked: ObjectGet | None = None  # not answered yet


@dataclass(slots=True)
class Changes:
    """How often one object may change, and the hash of the version that was taken last."""

    versions: TokenBucket
    last: bytes = b""


class ObjectExchange:
    """The exchange of one node. Its methods are called from the event loop only."""

    def __init__(self, links: Mapping[int, Link], store: ObjectStore, spawn: Spawn, clock: Clock) -> None:
        """spawn starts a task that ends with the node."""
        self.refused: Counter[str] = Counter()
        self._links = links
        self._store = store
        self._spawn = spawn
        self._clock = clock
        self._neighbours: dict[int, Neighbour] = {}
        self._judging: list[Key] = []
        self._changes: dict[Key, Changes] = {}  # of objects that were taken

    # -- links -------------------------------------------------------------------------------------------------

    def link_up(self, link: Link) -> None:
        """Tell a neighbour what is here, if it knows the messages."""
        if OBJECTS in link.features:
            self._tell(self._neighbour(link))

    def link_down(self, link: Link) -> None:
        """Forget a neighbour; another may have what it was asked for."""
        if self._neighbours.pop(link.number, None) is not None:
            self._begin_all()

    def link_has_room(self, link: Link) -> None:
        """Answer what had to wait."""
        if (neighbour := self._neighbours.get(link.number)) is not None:
            self._answer(neighbour)

    def changed(self) -> None:
        """Tell all neighbours what is new here, and ask for nothing that is not wanted any more."""
        for neighbour in list(self._neighbours.values()):
            transfer = neighbour.transfer
            if transfer is not None and not transfer.is_whole and self._store.refusal(transfer.announced) is not None:
                self._end(neighbour)
            self._tell(neighbour)
        self._begin_all()

    def tick(self) -> None:
        """Do what is due; called once a second."""
        now = self._clock.monotonic_ms()
        for neighbour in list(self._neighbours.values()):
            transfer = neighbour.transfer
            if transfer is not None and not transfer.is_whole and transfer.is_late(now):
                self._refuse("object_timeout")
                self._end(neighbour)
            if now - neighbour.told_ms > TOLD_AGAIN_MS:
                neighbour.told.clear()
                neighbour.told_ms = now
            self._tell(neighbour)
            self._answer(neighbour)
        self._begin_all()

    # -- messages ----------------------------------------------------------------------------------------------

    def receive(self, link: Link, message: Object | ObjectGet | ObjectPiece) -> None:
        """Handle a message of a neighbour. What is wrong with it is counted and ends nothing but a transfer."""
        of_kind = FEATURES.get(message.kind, OBJECTS) if isinstance(message, Object) else OBJECTS
        if not {OBJECTS, of_kind} <= link.features:
            self._refuse("object_unasked")
            return
        neighbour = self._neighbour(link)
        if isinstance(message, Object):
            self._offered(neighbour, message)
        elif isinstance(message, ObjectGet):
            neighbour.asked = message
            self._answer(neighbour)
        else:
            self._piece(neighbour, message)

    def _offered(self, neighbour: Neighbour, offered: Object) -> None:
        if _key(offered) in neighbour.told:
            neighbour.told[_key(offered)] = offered.hash  # it has this version, so it needs no word of it
        if not 0 < offered.size <= OBJECT_MOST_BYTES:
            self._refuse("object_too_large")
            return
        word = self._store.refusal(offered)
        if word is not None:
            if word:
                self._refuse(word)
            return
        transfer = neighbour.transfer
        if transfer is None or transfer.is_whole or _key(transfer.announced) != _key(offered):
            neighbour.offered[_key(offered)] = offered
            self._begin(neighbour)
        elif offered.hash != transfer.announced.hash and self._may_replace(neighbour, offered):
            # The neighbour has another version by now and cannot answer for the one before. It keeps its place, and the
            # deadlines of that: otherwise who offers without end would keep others from theirs.
            self._end(neighbour)
            neighbour.transfer = Transfer(offered, transfer.began_ms, transfer.heard_ms)
            neighbour.link.send(ObjectGet(offered.hash, 0))
        elif offered.hash != transfer.announced.hash:
            neighbour.offered[_key(offered)] = offered

    def _piece(self, neighbour: Neighbour, piece: ObjectPiece) -> None:
        transfer = neighbour.transfer
        if transfer is None or transfer.is_whole or piece.hash != transfer.announced.hash:
            if piece.hash != neighbour.ended:
                self._refuse("object_unasked")
            return
        left = transfer.announced.size - len(transfer.data)
        if piece.offset != len(transfer.data) or len(piece.data) != min(left, PIECE_LIMIT_BYTES):
            self._refuse("object_out_of_order")
            self._end(neighbour)
            self._begin_all()
            return
        transfer.data += piece.data
        transfer.heard_ms = self._clock.monotonic_ms()
        if len(transfer.data) < transfer.announced.size:
            neighbour.link.send(ObjectGet(transfer.announced.hash, len(transfer.data)))
            return
        transfer.is_whole = True
        self._spawn(self._judge(neighbour, transfer), "objects")

    async def _judge(self, neighbour: Neighbour, transfer: Transfer) -> None:
        word: str | None = "object_failed"
        self._judging.append(_key(transfer.announced))
        try:
            word = await self._store.take(transfer.announced, bytes(transfer.data), neighbour.link)
            if word is None:
                self._count_change(transfer.announced)
        finally:
            self._judging.remove(_key(transfer.announced))
            neighbour.transfer = None
            if word:
                self._refuse(word)
                self._begin_all()
        self.changed()

    # -- transfers ---------------------------------------------------------------------------------------------

    def _begin_all(self) -> None:
        for neighbour in sorted(self._neighbours.values(), key=lambda each: each.began_ms):
            self._begin(neighbour)

    def _begin(self, neighbour: Neighbour) -> None:
        """Ask a neighbour for the next of what it offers and is wanted, within the bounds."""
        for key, offered in list(neighbour.offered.items()):
            if neighbour.transfer is not None:
                return
            if self._store.refusal(offered) is not None:
                del neighbour.offered[key]
                continue
            now = self._clock.monotonic_ms()
            if not self._has_place(key) or not self._may_change(key, now) or not neighbour.transfers.spend(now):
                continue
            del neighbour.offered[key]
            neighbour.began_ms = now
            neighbour.transfer = Transfer(offered, now, now)
            neighbour.link.send(ObjectGet(offered.hash, 0))

    def _has_place(self, key: Key) -> bool:
        transfers = [each.transfer for each in self._neighbours.values()]
        under_way = [_key(each.announced) for each in transfers if each is not None and not each.is_whole]
        under_way += self._judging
        return len(under_way) < TRANSFERS_MOST and under_way.count(key) < PARALLEL_MOST

    def _may_change(self, key: Key, now_ms: int) -> bool:
        return key not in self._changes or self._changes[key].versions.has(1, now_ms)

    def _may_replace(self, neighbour: Neighbour, offered: Object) -> bool:
        now = self._clock.monotonic_ms()
        return self._may_change(_key(offered), now) and neighbour.transfers.spend(now)

    def _count_change(self, taken: Object) -> None:
        """Count a version once, from however many neighbours it came. The store takes only names that it knows."""
        now, key = self._clock.monotonic_ms(), _key(taken)
        if key not in self._changes:
            self._changes[key] = Changes(TokenBucket(CHANGES_AT_ONCE, CHANGES_EACH_SECOND, now))
        if self._changes[key].last != taken.hash:
            self._changes[key].last = taken.hash
            self._changes[key].versions.owe(1, now)

    def _end(self, neighbour: Neighbour) -> None:
        if neighbour.transfer is not None:
            neighbour.ended = neighbour.transfer.announced.hash
            neighbour.transfer = None

    # -- what others want --------------------------------------------------------------------------------------

    def _tell(self, neighbour: Neighbour) -> None:
        for held in self._store.held():
            key = (held.kind, held.name)
            if FEATURES.get(held.kind, OBJECTS) not in neighbour.link.features:
                continue
            if neighbour.told.get(key) != held.digest and len(held.data) <= OBJECT_MOST_BYTES:
                neighbour.told[key] = held.digest
                neighbour.link.send(Object(held.kind, held.name, held.epoch, held.digest, len(held.data)))

    def _answer(self, neighbour: Neighbour) -> None:
        """Send the piece that a neighbour asks for, now or when there is room for it."""
        asked = neighbour.asked
        if asked is None:
            return
        found = next((held for held in self._store.held() if held.digest == asked.hash), None)
        if found is None or asked.offset >= len(found.data) or asked.offset % PIECE_LIMIT_BYTES:
            # It has been replaced meanwhile, or was never here; what replaced it was told.
            self._refuse("object_unknown")
            neighbour.asked = None
            return
        piece = found.data[asked.offset : asked.offset + PIECE_LIMIT_BYTES]
        now = self._clock.monotonic_ms()
        if neighbour.link.backlog_bytes > ROOM_BYTES or not neighbour.answers.has(len(piece), now):
            return
        neighbour.asked = None
        neighbour.answers.owe(len(piece), now)
        neighbour.link.send(ObjectPiece(asked.hash, asked.offset, piece))

    def _neighbour(self, link: Link) -> Neighbour:
        found = self._neighbours.get(link.number)
        if found is None or found.link is not link:
            now = self._clock.monotonic_ms()
            found = Neighbour(
                link,
                TokenBucket(TRANSFERS_AT_ONCE, TRANSFERS_EACH_SECOND, now),
                TokenBucket(ANSWERS_AT_ONCE_BYTES, ANSWERS_EACH_SECOND_BYTES, now),
                now,
            )
            self._neighbours[link.number] = found
        return found

    def _refuse(self, reason: str) -> None:
        self.refused[reason] += 1


def _key(announced: Object) -> Key:
    return announced.kind, announced.name
