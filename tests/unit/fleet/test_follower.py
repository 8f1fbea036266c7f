"""A table of signed values: what it takes, what it does not, and that silence changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.fleet import client as client_module
from pcgrelay.fleet import follower as module
from pcgrelay.fleet.client import StoreClient
from pcgrelay.fleet.follower import Follower
from pcgrelay.fleet.values import SignedValue, signing_as
from pcgrelay.identity.local import LocalIdentity
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_nodes import KENT, ROOT, Fleet
from tests.support.waiting import until_async

KEY = f"nodes/{KENT}/kent-1"


@dataclass
class Table:
    """A follower with its task, and what it told."""

    follower: Follower
    store: FakeEtcd
    kent: LocalIdentity
    told: list[tuple[str, int | None]] = field(default_factory=list)  # keys and epochs

    def changed(self, key: str, value: SignedValue | None) -> None:
        self.told.append((key, None if value is None else value.epoch))

    def write(self, epoch: int, body: bytes = b"here", key: str = KEY, lease: int = 0) -> None:
        self.store.put(ROOT + key, signing_as(self.kent)(key, body, epoch), lease)

    @property
    def epochs(self) -> list[int | None]:
        return [epoch for _, epoch in self.told]


@pytest.fixture(autouse=True)
def _in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUEST_S", "TRY_S", "AGAIN_S", "PROGRESS_S"):
        monkeypatch.setattr(client_module, name, getattr(client_module, name) / 10)
    for name in ("AGAIN_LEAST_S", "AGAIN_MOST_S"):
        monkeypatch.setattr(module, name, getattr(module, name) / 10)


@pytest.fixture(scope="module")
def kent(fleet: Fleet) -> LocalIdentity:
    return fleet.node(KENT, "kent-1")


@pytest_asyncio.fixture
async def table(store: FakeEtcd, client: StoreClient, kent: LocalIdentity) -> AsyncIterator[Table]:
    table = Table(None, store, kent)  # type: ignore[arg-type]
    table.follower = Follower(client, "nodes/", kent, SYSTEM_CLOCK, table.changed)
    task = asyncio.create_task(table.follower.run())
    yield table
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_is_there_and_what_comes_is_taken(table: Table) -> None:
    table.write(1)
    await until_async(lambda: table.epochs == [1])
    table.write(2)
    table.write(2, key=f"counts/{KENT}/kent-1")  # of another prefix
    await until_async(lambda: table.epochs == [1, 2])
    assert table.follower.values[KEY].body == b"here"
    assert table.follower.loaded


async def test_an_old_value_that_is_written_again_is_not_taken(table: Table) -> None:
    table.write(5, b"new")
    await until_async(lambda: table.epochs == [5])
    table.write(4, b"old")
    await until_async(lambda: table.follower.refused["value_old_epoch"] == 1)
    table.store.delete(ROOT + KEY)
    await until_async(lambda: table.epochs == [5, None])
    table.write(4, b"old")
    await until_async(lambda: table.follower.refused["value_old_epoch"] == 2)
    assert table.follower.values == {}
    table.write(6)
    await until_async(lambda: table.epochs == [5, None, 6])


async def test_what_is_not_believed_changes_nothing_and_is_counted(table: Table) -> None:
    table.write(1)
    await until_async(lambda: table.epochs == [1])
    table.store.put(ROOT + KEY, b"\x80")
    other = f"nodes/{KENT}/kent-2"
    table.write(9, key=other)
    await until_async(lambda: table.follower.refused.total() == 2)
    assert dict(table.follower.refused) == {"value_malformed": 1, "value_wrong_signer": 1}
    assert table.follower.values[KEY].epoch == 1
    assert table.epochs == [1]


async def test_a_silent_store_withdraws_nothing(table: Table, client: StoreClient) -> None:
    table.write(1)
    await until_async(lambda: table.epochs == [1])
    for member in table.store.members:
        member.mute = True
    table.store.members[0].silent_watches = True
    await until_async(lambda: len(table.store.members[1].asked) > 1)
    assert table.epochs == [1]
    assert table.follower.values[KEY].epoch == 1
    for member in table.store.members:
        member.mute = member.silent_watches = False
    table.write(2)
    await until_async(lambda: table.epochs == [1, 2])


async def test_an_expired_lease_is_told_and_so_is_one_that_expired_meanwhile(table: Table) -> None:
    table.store.leases[1] = table.store.leases[2] = 5
    table.write(1, lease=1)
    await until_async(lambda: table.epochs == [1])
    table.store.expire(1)
    await until_async(lambda: table.epochs == [1, None])
    table.write(2, lease=2)
    await until_async(lambda: table.epochs == [1, None, 2])
    for member in table.store.members:
        member.silent_watches = True
    table.store.expire(2)
    table.store.compact()
    # What was not told is found by loading again.
    await until_async(lambda: table.epochs == [1, None, 2, None])


async def test_a_compacted_history_is_loaded_again(table: Table) -> None:
    table.write(1)
    await until_async(lambda: table.epochs == [1])
    for member in table.store.members:
        member.silent_watches = True
    table.write(2)
    table.write(3)
    table.store.compact()
    await until_async(lambda: table.epochs == [1, 3])


async def test_a_store_that_lost_everything_is_noticed_and_takes_what_is_written_again(table: Table) -> None:
    for epoch in range(1, 6):
        table.write(epoch)
    await until_async(lambda: bool(table.epochs) and table.epochs[-1] == 5)
    table.store.wipe()
    await until_async(lambda: table.epochs[-1] is None)
    table.write(4, b"old")
    await until_async(lambda: table.follower.refused["value_old_epoch"] == 1)
    table.write(6)
    await until_async(lambda: table.epochs[-1] == 6)


async def test_a_change_of_trust_ends_what_is_not_trusted_any_more(table: Table, fleet: Fleet) -> None:
    gone = fleet.node(KENT, "kent-3")
    key = f"nodes/{KENT}/kent-3"
    table.store.put(ROOT + key, signing_as(gone)(key, b"here", 1))
    table.write(1)
    await until_async(lambda: len(table.told) == 2)
    fleet.pki.authority.revoke(KENT, "kent-3")
    table.kent.take(LocalIdentity(table.kent.config))
    table.follower.judge_again()
    assert table.told[-1] == (key, None)
    assert list(table.follower.values) == [KEY]


async def test_keys_are_remembered_up_to_a_bound(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_MOST", 1)
    table.write(1)
    await until_async(lambda: table.epochs == [1])
    table.write(1, key=f"{KEY}/more")
    await until_async(lambda: table.follower.refused["value_too_many"] == 1)
    table.write(2)
    await until_async(lambda: table.epochs == [1, 2])
