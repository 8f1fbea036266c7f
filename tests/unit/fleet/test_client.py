"""The client of the store against a gateway with faults on purpose."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from pcgrelay.fleet import client as module
from pcgrelay.fleet import errors
from pcgrelay.fleet.client import Change, Put, StoreClient
from pcgrelay.fleet.errors import StoreRefused, StoreSilent
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_nodes import ROOT, Fleet
from tests.support.waiting import until_async


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines a tenth as long."""
    for name in ("REQUEST_S", "TRY_S", "AGAIN_S", "PROGRESS_S"):
        monkeypatch.setattr(module, name, getattr(module, name) / 10)


async def test_what_is_written_is_loaded_with_its_revision_and_nothing_of_others(
    store: FakeEtcd, client: StoreClient
) -> None:
    store.put("pcg/1/other.example/nodes/a", b"foreign")
    revision = await client.put("nodes/a", b"one")
    await client.put("nodex/b", b"two")
    loaded = await client.load("nodes/")
    assert {key: (found.value, found.revision) for key, found in loaded.values.items()} == {
        "nodes/a": (b"one", revision)
    }
    assert loaded.revision == store.revision
    found = await client.get("nodex/b")
    assert found is not None
    assert found.value == b"two"
    assert await client.get("nodex/c") is None
    await client.delete("nodex/b")
    assert await client.get("nodex/b") is None


async def test_many_keys_come_in_pages_of_one_moment(
    store: FakeEtcd, client: StoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_KEYS", 3)
    for number in range(10):
        store.put(f"{ROOT}nodes/{number}", b"%d" % number)
    loaded = await client.load("nodes/")
    assert sorted(loaded.values) == [f"nodes/{number}" for number in range(10)]
    assert store.members[0].asked == ["kv/range"] * 4


async def test_more_keys_than_are_read_are_refused(
    store: FakeEtcd, client: StoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE_KEYS", 2)
    monkeypatch.setattr(module, "KEYS_MOST", 4)
    for number in range(6):
        store.put(f"{ROOT}nodes/{number}", b"")
    with pytest.raises(StoreSilent, match="more than is read"):
        await client.load("nodes/")


async def test_a_member_that_is_away_or_mute_is_passed_over_once(store: FakeEtcd, client: StoreClient) -> None:
    await store.stop_member(store.members[0])
    store.members[1].mute = True
    await client.put("nodes/a", b"one")
    assert client.endpoint == store.members[2].endpoint
    await client.put("nodes/a", b"two")
    assert len(store.members[1].asked) == 1
    assert client.state.live


async def test_silence_is_told_once_with_the_moment_of_the_last_answer(
    store: FakeEtcd, client: StoreClient, fleet: Fleet
) -> None:
    await client.put("nodes/a", b"one")
    heard_ms = client.state.since_ms
    for member in store.members:
        member.mute = True
    for _ in range(2):
        with pytest.raises(StoreSilent) as refused:
            await client.load("nodes/")
        assert refused.value.reason == errors.DEADLINE
    assert not client.state.live
    assert client.state.since_ms >= heard_ms
    for member in store.members:
        member.mute = False
    await client.load("nodes/")
    assert [state.live for state in fleet.told] == [True, False, True]


async def test_without_a_leader_nothing_is_known(store: FakeEtcd, client: StoreClient) -> None:
    for member in store.members:
        member.leaderless = True
    with pytest.raises(StoreSilent) as refused:
        await client.get("nodes/a")
    assert refused.value.reason == errors.NO_LEADER


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, b"<html>"), errors.MALFORMED),
        ((200, b"[" * 5000), errors.MALFORMED),
        ((200, b'{"header": {"revision": "many"}}'), errors.MALFORMED),
        ((502, b"bad gateway"), errors.MALFORMED),
        ((302, b"{}"), errors.MALFORMED),
        ((200, b" " * 20_001), errors.TOO_LARGE),
    ],
)
async def test_an_answer_that_makes_no_sense_is_silence(
    store: FakeEtcd, client: StoreClient, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes], reason: str
) -> None:
    monkeypatch.setattr(module, "ANSWER_MOST_BYTES", 20_000)
    for member in store.members:
        member.answers = [answer] * 200
    with pytest.raises(StoreSilent) as refused:
        await client.get("nodes/a")
    assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("code", "reason"), [(7, errors.PERMISSION), (8, errors.NO_SPACE), (9, errors.OTHER), (5, errors.NO_LEASE)]
)
async def test_a_refusal_has_a_reason_and_is_no_silence(
    store: FakeEtcd, client: StoreClient, code: int, reason: str
) -> None:
    store.members[0].answers = [(400, {"error": "no", "message": "no", "code": code})]
    with pytest.raises(StoreRefused) as refused:
        await client.put("nodes/a", b"one")
    assert refused.value.reason == reason
    assert client.state.live


async def test_a_transaction_is_done_whole_or_not_at_all(client: StoreClient) -> None:
    first = await client.swap(created={"locks/a": 0}, puts=[Put("locks/a", b"me"), Put("orders/a", b"go")])
    assert first
    assert await client.swap(created={"locks/a": 0}, puts=[Put("locks/a", b"you"), Put("orders/a", b"stop")]) == 0
    found = await client.get("orders/a")
    assert found is not None
    assert (found.value, found.created) == (b"go", first)
    assert await client.swap(written={"orders/a": first}, puts=[Put("orders/a", b"on")])
    assert await client.swap(created={"locks/a": first}, deletes=["locks/a"])
    assert await client.get("locks/a") is None


async def test_a_transaction_that_may_have_been_done_is_not_asked_for_twice(
    store: FakeEtcd, client: StoreClient
) -> None:
    store.members[0].mute = True
    with pytest.raises(StoreSilent):
        await client.swap(created={"locks/a": 0}, puts=[Put("locks/a", b"me")])
    assert [member.asked for member in store.members] == [["kv/txn"], [], []]


async def test_a_lease_is_kept_until_it_has_expired(store: FakeEtcd, client: StoreClient) -> None:
    lease = await client.grant(5)
    await client.put("nodes/a", b"here", lease)
    assert await client.keep(lease)
    store.expire(lease)
    assert not await client.keep(lease)
    assert await client.get("nodes/a") is None
    await client.revoke(lease)  # it is gone already
    with pytest.raises(StoreRefused, match="lease has expired"):
        await client.put("nodes/a", b"here", lease)


async def test_a_watch_tells_what_happened_from_its_revision_on_and_what_happens(
    store: FakeEtcd, client: StoreClient
) -> None:
    store.put(f"{ROOT}nodes/a", b"one")
    before = store.revision
    store.put(f"{ROOT}nodes/b", b"two")
    told: list[Change] = []

    async def follow() -> None:
        async with aclosing(client.watch("nodes/", before + 1)) as watch:
            async for each in watch:
                told.extend(each.changes)

    task = asyncio.create_task(follow())
    await until_async(lambda: len(told) == 1)
    store.put(f"{ROOT}other/c", b"three")
    store.delete(f"{ROOT}nodes/a")
    await until_async(lambda: len(told) == 2)
    task.cancel()
    assert [(each.key, each.found and each.found.value) for each in told] == [("nodes/b", b"two"), ("nodes/a", None)]


async def test_a_watch_that_says_nothing_ends(store: FakeEtcd, client: StoreClient) -> None:
    store.members[0].silent_watches = True
    assert [each.began async for each in client.watch("nodes/", store.revision + 1)] == [True]


async def test_a_watch_from_a_history_that_is_gone_says_so(store: FakeEtcd, client: StoreClient) -> None:
    store.put(f"{ROOT}nodes/a", b"one")
    store.compact()
    with pytest.raises(StoreRefused) as refused:
        _ = [each async for each in client.watch("nodes/", 2)]
    assert refused.value.reason == errors.COMPACTED


async def test_a_watch_at_a_member_that_is_lost_goes_on_at_the_next(store: FakeEtcd, client: StoreClient) -> None:
    await store.stop_member(store.members[0])
    with pytest.raises(StoreSilent):
        _ = [each async for each in client.watch("nodes/", 2)]
    assert client.endpoint == store.members[1].endpoint


async def test_a_token_is_had_by_password_and_renewed_when_it_is_not_known_any_more(
    store: FakeEtcd, fleet: Fleet
) -> None:
    store.passwords = {"kent-1": "secret"}
    client = fleet.client(store, user="kent-1", password="secret")
    await client.put("nodes/a", b"one")
    store.tokens.clear()
    await client.put("nodes/a", b"two")
    assert store.members[0].asked.count("auth/authenticate") == 2
    await client.close()


@pytest.mark.parametrize(("user", "password"), [("kent-1", "wrong"), ("", "")])
async def test_without_the_right_password_it_is_silence_with_a_reason(
    store: FakeEtcd, fleet: Fleet, user: str, password: str
) -> None:
    store.passwords = {"kent-1": "secret"}
    client = fleet.client(store, user=user, password=password)
    with pytest.raises(StoreSilent) as refused:
        await client.put("nodes/a", b"one")
    assert refused.value.reason == errors.UNAUTHENTICATED
    assert "secret" not in f"{client.access}"
    await client.close()


async def test_a_value_that_no_store_would_take_is_not_sent(client: StoreClient, store: FakeEtcd) -> None:
    with pytest.raises(StoreRefused):
        await client.put("nodes/a", bytes(module.VALUE_MOST_BYTES + 1))
    assert store.members[0].asked == []


async def test_a_client_that_was_closed_asks_nobody(store: FakeEtcd, client: StoreClient) -> None:
    await client.put("nodes/a", b"one")
    await client.close()
    with pytest.raises(StoreSilent):
        await client.get("nodes/a")
    assert store.members[0].asked == ["kv/put"]
