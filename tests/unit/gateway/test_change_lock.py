"""The lock of an organisation as its nodes hold it: one change at a time, whoever dies and whatever the store does."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.errors import PcgrelayError
from pcgrelay.fleet import client as client_module
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.lock import DRAIN, DRILL, Holder, holder_of, lock_key
from pcgrelay.gateway import change_lock as module
from pcgrelay.gateway.change_lock import ChangeHeld, ChangeLock, ChangeUnproved
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.log.events import Record
from tests.support.fake_etcd import FakeEtcd, Kept
from tests.support.fleet_fixtures import fleet, store
from tests.support.fleet_nodes import KENT, ROOT, TABLE, Fleet, identity
from tests.support.waiting import until_async as until

__all__ = ["fleet", "store"]
KEY = (ROOT + lock_key(KENT)).encode()
TTL_S = 3


@dataclass
class Node:
    """One node's lock, and what it said."""

    local: LocalIdentity
    client: StoreClient
    lock: ChangeLock = field(init=False)
    said: list[Record] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    ended: list[tuple[str, float]] = field(default_factory=list)  # drills: why, and when

    def __post_init__(self) -> None:
        self.lock = ChangeLock(self.local, lambda: self.client, self.refused, self.said.append, SYSTEM_CLOCK)
        self.lock.end_drill = lambda reason: self.ended.append((reason, time.monotonic()))

    @property
    def events(self) -> list[str]:
        return [each.EVENT for each in self.said]

    async def dies(self) -> None:
        """It does nothing any more, and gives nothing back."""
        assert self.lock._task is not None
        self.lock._task.cancel()
        await asyncio.gather(self.lock._task, return_exceptions=True)


@dataclass
class Two:
    """Two nodes of one organisation, and the store."""

    one: Node
    other: Node
    store: FakeEtcd

    @property
    def kept(self) -> Kept | None:
        return self.store.content.get(KEY)

    @property
    def token(self) -> int:
        return 0 if self.kept is None else self.kept.created

    @property
    def holder(self) -> Holder | None:
        return None if self.kept is None else holder_of(lock_key(KENT), self.kept.value, self.one.local)

    def expire(self) -> None:
        assert self.kept is not None
        self.store.expire(self.kept.lease)

    def silence(self, *, on: bool = True) -> None:
        for member in self.store.members:
            member.mute = on


@pytest_asyncio.fixture
async def two(store: FakeEtcd, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Two]:
    for name, value in (("LOOK_S", 0.02), ("PROVE_S", 0.1), ("AGAIN_S", 0.1), ("LOCK_TTL_S", TTL_S), ("TAKE_S", 2.0)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(client_module, "REQUEST_S", 0.4)
    monkeypatch.setattr(client_module, "TRY_S", 0.1)
    nodes = [Node(identity(fleet, name, fleet=TABLE), fleet.client(store)) for name in ("kent-1", "kent-2")]
    yield Two(*nodes, store)
    for node in nodes:
        await node.lock.stop()
        await node.client.close()


async def test_the_second_one_is_refused_with_all_that_it_needs_to_know(two: Two) -> None:
    await two.one.lock.take(DRAIN, "jo")
    first = two.token
    with pytest.raises(ChangeHeld) as refused:
        await two.other.lock.take(DRILL, "al")
    assert refused.value.exit_code == 6
    holder = two.holder
    assert holder is not None
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(holder.since_s))
    assert str(refused.value) == (
        f"Nodes of {KENT} are being changed by kent-1.{KENT} (drain, by jo, since {since} UTC); wait until that is "
        "over, end it there (pcgrelay drain --undo), or add --without-lock. Nothing was done."
    )
    assert two.other.refused["lock_held"] == 1
    await two.one.lock.give_back(DRAIN)
    assert two.kept is None
    await two.other.lock.take(DRILL, "al")
    assert two.token > first
    assert two.one.events == ["fleet.locked", "fleet.unlocked"]
    assert not two.store.leases.keys() - {two.kept.lease if two.kept else 0}


async def test_of_two_at_once_one_has_it(two: Two) -> None:
    done = await asyncio.gather(
        two.one.lock.take(DRAIN, "jo"), two.other.lock.take(DRAIN, "al"), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in done) == ["ChangeHeld", "NoneType"]
    assert two.one.lock.is_held != two.other.lock.is_held


async def test_a_holder_that_dies_leaves_it_with_its_lease(two: Two) -> None:
    await two.one.lock.take(DRAIN, "jo")
    first = two.token
    await two.one.dies()
    with pytest.raises(ChangeHeld):
        await two.other.lock.take(DRAIN, "al")
    two.expire()
    await two.other.lock.take(DRAIN, "al")
    assert two.token > first


async def test_a_silent_store_refuses_and_whoever_insists_is_on_record(two: Two) -> None:
    two.silence()
    with pytest.raises(ChangeUnproved) as refused:
        await two.one.lock.take(DRAIN, "jo")
    assert refused.value.exit_code == 1
    assert str(refused.value) == (
        "The store of the fleet: no member of it answers in time. So nobody can say whether another node is being "
        "changed. Nothing was done; add --without-lock to go on all the same."
    )
    assert two.one.refused["lock_unproved"] == 1
    assert not two.one.lock.is_held
    two.one.lock.pass_over(DRAIN, "jo")
    assert two.one.events == ["fleet.lock_passed_over"]
    await two.one.lock.give_back(DRAIN)
    assert two.one.events == ["fleet.lock_passed_over"]


async def test_a_drill_ends_before_anybody_else_can_have_the_lock_of_a_store_that_fell_silent(two: Two) -> None:
    await two.one.lock.take(DRILL, "jo")
    kept_at = time.monotonic()
    two.silence()
    await until(lambda: bool(two.one.ended), TTL_S + 2)
    reason, at = two.one.ended[0]
    assert at - kept_at < TTL_S
    assert reason == "the lock of the fleet was lost, for the store is silent or somebody else has it"
    assert two.one.events[-1] == "fleet.lock_lost"
    assert two.one.refused["lock_lost"] == 1
    # The drill is over then; there is nothing to give back.
    await two.one.lock.give_back(DRILL)
    assert len(two.one.ended) == 1


async def test_a_holder_with_an_old_token_ends_its_drill(two: Two) -> None:
    """Somebody removed the key, and another one has it since: the lease of the first is as good as ever."""
    await two.one.lock.take(DRILL, "jo")
    two.store.delete(KEY.decode())
    await two.other.lock.take(DRAIN, "al")
    second = two.token
    await until(lambda: bool(two.one.ended))
    assert two.one.events[-1] == "fleet.lock_lost"
    # And it takes nothing away from who has it now.
    await two.one.lock.give_back(DRILL)
    assert (two.token, two.other.lock.is_held) == (second, True)


async def test_a_drain_goes_on_without_the_lock_and_takes_it_again(two: Two) -> None:
    await two.one.lock.take(DRAIN, "jo")
    first = two.token
    two.store.delete(KEY.decode())
    await two.other.lock.take(DRILL, "al")
    await until(lambda: "fleet.lock_lost" in two.one.events)
    await asyncio.sleep(0.3)
    assert not two.one.lock.is_held
    await two.other.lock.give_back(DRILL)
    await until(lambda: two.one.lock.is_held)
    assert two.token > first
    assert two.holder is not None
    assert (two.holder.act, two.holder.by) == (DRAIN, "jo")
    assert not two.one.ended


async def test_a_node_that_holds_it_needs_no_other_and_gives_it_back_once(two: Two) -> None:
    """A node is drained while its own drill runs, which the drain ends."""
    await two.one.lock.take(DRILL, "jo")
    first = two.token
    await two.one.lock.take(DRAIN, "al")
    assert two.token == first
    assert two.holder is not None
    assert (two.holder.act, two.holder.by) == (DRAIN, "al")
    await two.one.lock.give_back(DRILL)
    assert two.token == first
    await two.one.lock.give_back(DRAIN)
    assert two.kept is None
    assert not two.store.leases


async def test_a_node_that_ends_gives_it_back(two: Two) -> None:
    await two.one.lock.take(DRAIN, "jo")
    await two.one.lock.stop()
    assert two.kept is None
    assert not two.store.leases


async def test_what_was_cut_off_in_the_middle_leaves_no_lock(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TAKE_S", 0.1)
    swap = two.one.client.swap

    async def slow(**words: object) -> int:
        await swap(**words)  # type: ignore[arg-type]
        await asyncio.sleep(30)
        return 0

    monkeypatch.setattr(two.one.client, "swap", slow)
    with pytest.raises(ChangeUnproved):
        await two.one.lock.take(DRAIN, "jo")
    assert two.kept is None


async def test_without_a_store_nothing_is_asked(store: FakeEtcd, fleet: Fleet) -> None:
    node = Node(identity(fleet, "kent-3"), fleet.client(store))
    await node.lock.take(DRAIN, "jo")
    node.lock.pass_over(DRAIN, "jo")
    await node.lock.give_back(DRAIN)
    assert node.events == []
    assert not any(member.asked for member in store.members)
    await node.client.close()


async def test_files_of_the_store_that_are_wrong_refuse_as_silence_does(two: Two) -> None:
    client, two.one.client = two.one.client, None  # type: ignore[assignment]
    with pytest.raises(PcgrelayError, match="So nobody can say whether another node is being changed"):
        await two.one.lock.take(DRAIN, "jo")
    two.one.client = client


async def test_what_another_user_is_called_moves_no_cursor(two: Two) -> None:
    await two.one.lock.take(DRAIN, "\x1b[2Jjo")
    with pytest.raises(ChangeHeld, match=r"by \\x1b\[2Jjo, since"):
        await two.other.lock.take(DRAIN, "al")
