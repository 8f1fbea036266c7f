"""A lock in the store, under a lease, with a fencing token.

The token is the revision at which the lock's key came to be, so it rises with each holder. Whoever is asked to do
something by the holder looks whether the lock still has that token, as the majority of the store's members has it: a
holder that was away and does not know that its lease has expired is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from pcgrelay.fleet import values
from pcgrelay.fleet.client import Put, StoreClient
from pcgrelay.fleet.errors import DEADLINE, StoreSilent
from pcgrelay.fleet.values import Judge, Sign, ValueRefused, open_value
from pcgrelay.printable import printable
from pcgrelay.ranges import Timestamp

DRILL, DRAIN = "drill", "drain"  # what a lock is held for, beside `report.UPGRADE`
LOCK_TTL_S = 15
TRIES = 3
_ENDED_BY = {DRILL: "pcgrelay drill stop", DRAIN: "pcgrelay drain --undo"}


class Holder(Struct, frozen=True, kw_only=True):
    """Who holds a lock, and what for."""

    node: Annotated[str, Meta(max_length=400)]  # NAME.ORGANISATION, whose key signed it
    act: Annotated[str, Meta(max_length=16)]
    by: Annotated[str, Meta(max_length=64)] = ""  # the user who asked for it
    nonce: Annotated[str, Meta(max_length=32)] = ""
    since_s: Timestamp = 0  # 0: an older version does not say

    @property
    def words(self) -> str:
        """For people."""
        by = f", by {printable(self.by)}" if self.by else ""
        since = f", since {datetime.fromtimestamp(self.since_s, UTC):%Y-%m-%d %H:%M:%S} UTC" if self.since_s else ""
        return f"{printable(self.node)} ({printable(self.act)}{by}{since})"


class Lock(Struct, frozen=True, kw_only=True):
    """A lock that is held by this process."""

    key: str
    token: int


class LockHeld(Exception):
    """Somebody else holds the lock; holder is None if what is written there is not believed."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(holder.words if holder else "somebody whose signature is not believed")
        self.holder = holder

    def sentences(self, organisation: str, otherwise: str = "") -> str:
        """Return what to tell whoever wanted the lock. otherwise: how to go on without it, as a phrase."""
        ended = _ENDED_BY.get(self.holder.act, "") if self.holder else ""
        ways = ["wait until that is over", *([f"end it there ({ended})"] if ended else [])]
        way = ", ".join([*ways, *([otherwise] if otherwise else [])])
        first, _, last = way.rpartition(", ")
        ways_words = f"{first}, or {last}" if first else last
        return f"Nodes of {organisation} are being changed by {self}; {ways_words}. Nothing was done."


def lock_key(organisation: str, name: str = "change") -> str:
    """Return the key of a lock. All that changes nodes of an organisation shares one."""
    return f"{values.LOCKS}/{organisation}/{name}"


async def take(client: StoreClient, key: str, lease: int, holder: Holder, sign: Sign, judge: Judge) -> Lock:
    """Take a lock under a lease. Raises LockHeld, StoreProblem."""
    data = sign(key, msgspec.msgpack.encode(holder), 0)
    for _ in range(TRIES):
        try:
            token = await client.swap(created={key: 0}, puts=[Put(key, data, lease)])
        except StoreSilent:
            token = 0  # it may have been done
        if token:
            return Lock(key=key, token=token)
        found = await client.get(key)
        if found is not None and found.value == data:
            return Lock(key=key, token=found.created)
        if found is not None:
            raise LockHeld(holder_of(key, found.value, judge))
        # Its holder gave it back between the two questions.
    raise StoreSilent(DEADLINE)


async def rewrite(client: StoreClient, lock: Lock, lease: int, holder: Holder, sign: Sign) -> bool:
    """Say anew what a lock is held for; the token stays. Whether it is still held. Raises StoreProblem."""
    data = sign(lock.key, msgspec.msgpack.encode(holder), 0)
    return bool(await client.swap(created={lock.key: lock.token}, puts=[Put(lock.key, data, lease)]))


def holder_of(key: str, data: bytes, judge: Judge) -> Holder | None:
    """Return who holds a lock; None: what stands there is not believed."""
    try:
        value = open_value(key, data, 0, judge)
        holder = msgspec.msgpack.decode(value.body, type=Holder)
    except (ValueRefused, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return holder if holder.node == value.signer.dotted else None


async def is_token(client: StoreClient, key: str, token: int) -> bool:
    """Return whether a lock is held with that token now. Raises StoreProblem."""
    found = await client.get(key)
    return found is not None and found.created == token


async def release(client: StoreClient, lock: Lock) -> None:
    """Give a lock back, unless somebody else has it by now. Raises StoreProblem."""
    await client.swap(created={lock.key: lock.token}, deletes=[lock.key])
