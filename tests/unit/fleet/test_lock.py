"""Leases that are kept, and locks with a fencing token."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec
import pytest

from pcgrelay.clock import SetClock
from pcgrelay.fleet import client as client_module
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.errors import StoreSilent
from pcgrelay.fleet.lease import MARGIN_MS, KeptLease
from pcgrelay.fleet.lock import Holder, LockHeld, is_token, lock_key, release, take
from pcgrelay.fleet.values import signing_as
from pcgrelay.identity.local import LocalIdentity
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_nodes import KENT, MET, ROOT, Fleet

KEY = lock_key(KENT)
ONE = Holder(node=f"kent-1.{KENT}", act="upgrade", by="jo", nonce="1")
OTHER = Holder(node=f"kent-1.{KENT}", act="drill", nonce="2")


@pytest.fixture(scope="module")
def kent(fleet: Fleet) -> LocalIdentity:
    return fleet.node(KENT, "kent-1")


async def test_a_lock_is_held_by_one_and_tells_the_other_by_whom(client: StoreClient, kent: LocalIdentity) -> None:
    sign = signing_as(kent)
    lock = await take(client, KEY, await client.grant(5), ONE, sign, kent)
    with pytest.raises(LockHeld) as held:
        await take(client, KEY, await client.grant(5), OTHER, sign, kent)
    assert held.value.holder == ONE
    assert str(held.value) == f"kent-1.{KENT} (upgrade, by jo)"
    assert await is_token(client, KEY, lock.token)
    await release(client, lock)
    assert not await is_token(client, KEY, lock.token)
    again = await take(client, KEY, await client.grant(5), OTHER, sign, kent)
    assert again.token > lock.token


async def test_who_lost_the_lock_has_a_stale_token_and_releases_nothing(
    store: FakeEtcd, client: StoreClient, kent: LocalIdentity
) -> None:
    sign = signing_as(kent)
    lease = await client.grant(5)
    first = await take(client, KEY, lease, ONE, sign, kent)
    store.expire(lease)
    second = await take(client, KEY, await client.grant(5), OTHER, sign, kent)
    assert not await is_token(client, KEY, first.token)
    await release(client, first)
    assert await is_token(client, KEY, second.token)


async def test_a_lock_whose_answer_was_lost_is_still_known_for_ones_own(
    client: StoreClient, kent: LocalIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap = client.swap

    async def unanswered(**words: object) -> int:
        await swap(**words)  # type: ignore[arg-type]
        raise StoreSilent("deadline")

    monkeypatch.setattr(client, "swap", unanswered)
    lock = await take(client, KEY, await client.grant(5), ONE, signing_as(kent), kent)
    assert await is_token(client, KEY, lock.token)


async def test_a_holder_who_is_not_believed_has_no_name(
    store: FakeEtcd, client: StoreClient, kent: LocalIdentity, fleet: Fleet
) -> None:
    met = fleet.node(MET, "met-1")
    forged = Holder(node=f"met-1.{MET}", act="upgrade")
    for data in (b"\x80", signing_as(met)(KEY, msgspec.msgpack.encode(forged), 0)):
        store.put(ROOT + KEY, data)
        with pytest.raises(LockHeld, match="not believed"):
            await take(client, KEY, await client.grant(5), ONE, signing_as(kent), kent)
    store.put(ROOT + KEY, signing_as(kent)(KEY, msgspec.msgpack.encode(forged), 0))
    with pytest.raises(LockHeld, match="not believed"):
        await take(client, KEY, await client.grant(5), ONE, signing_as(kent), kent)


async def test_a_lease_that_expired_is_had_again_with_its_keys(store: FakeEtcd, client: StoreClient) -> None:
    clock = SetClock(datetime(2026, 1, 1, tzinfo=UTC))
    written: list[int] = []

    async def renewed(number: int) -> None:
        written.append(number)
        await client.put("nodes/a", b"here", number)

    lease = KeptLease(client, clock, 5, renewed)
    assert not lease.is_held()
    await lease.keep()
    await lease.keep()
    assert written == [lease.number]
    assert lease.is_held()
    clock.advance(5_000 - MARGIN_MS)
    assert not lease.is_held()
    store.expire(lease.number)
    await lease.keep()
    assert written == [written[0], lease.number]
    assert await client.get("nodes/a")
    await lease.end()
    assert await client.get("nodes/a") is None


async def test_the_end_of_a_lease_waits_for_no_silent_store(
    store: FakeEtcd, client: StoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "REQUEST_S", 0.2)
    lease = KeptLease(client, SetClock(datetime(2026, 1, 1, tzinfo=UTC)))
    await lease.keep()
    for member in store.members:
        member.mute = True
    async with asyncio.timeout(5):
        await lease.end()
    assert not lease.is_held()
