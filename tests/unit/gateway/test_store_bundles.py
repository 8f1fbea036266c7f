"""A realm bundle goes through the store: each node takes what is newer, and tells the store of what it lacks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from pcgrelay.fleet import client as client_module
from pcgrelay.fleet.client import StoreAccess, StoreClient
from pcgrelay.fleet.values import root_of
from pcgrelay.gateway import store_bundles
from pcgrelay.gateway.store_bundles import KEY, StoreBundles
from tests.support.bundles import Signer
from tests.support.fake_etcd import FakeEtcd
from tests.support.nodes_in_process import KENT, MET, Nodes, Running
from tests.support.pki import REALM
from tests.support.waiting import until_async as until

ROOT = root_of(REALM)


class Realm:
    """Nodes without a link, and the store."""

    def __init__(self, nodes: Nodes) -> None:
        self.nodes, self.etcd = nodes, FakeEtcd()
        self.signer = Signer(nodes.pki)
        self.made: list[tuple[StoreBundles, StoreClient]] = []

    async def node(self, organisation: str, name: str) -> Running:
        links = [{"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}]
        running = await self.nodes.start(organisation, name, links=links)
        node = running.node
        client = StoreClient(StoreAccess(self.etcd.endpoints, ROOT), node.clock)
        bundles = StoreBundles(lambda: client, node.bundles, node.local, node.emit)
        bundles.begin()
        self.made.append((bundles, client))
        return running

    async def close(self) -> None:
        for bundles, client in self.made:
            await bundles.stop()
            await client.close()
        await self.etcd.close()

    @property
    def stored(self) -> bytes | None:
        kept = self.etcd.content.get((ROOT + KEY).encode())
        return None if kept is None else kept.value


@pytest.fixture
async def realm(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Realm]:
    monkeypatch.setattr(store_bundles, "LOOK_S", 0.1)
    monkeypatch.setattr(store_bundles, "SPREAD_S", 0.1)
    monkeypatch.setattr(store_bundles, "WRITE_AGAIN_S", 0.3)
    monkeypatch.setattr(client_module, "REQUEST_S", 1.0)
    monkeypatch.setattr(client_module, "TRY_S", 0.4)
    made = Realm(nodes)
    await made.etcd.add_member()
    yield made
    await made.close()


def epoch_of(running: Running) -> int:
    held = running.node.bundles.bundle
    return 0 if held is None else held.epoch


async def test_what_one_node_has_is_in_force_at_the_others(realm: Realm) -> None:
    one, other = await realm.node(KENT, "kent-1"), await realm.node(MET, "met-1")
    data = realm.signer.bundle(4)
    assert await one.node.bundles.offer(data, "test") is None
    await until(lambda: epoch_of(other) == 4)
    assert realm.stored == data
    status = other.node.bundles.status()
    assert status is not None
    assert status.source == "the store of the fleet"
    late = await realm.node(MET, "met-2")
    await until(lambda: epoch_of(late) == 4)


async def test_an_older_one_that_somebody_writes_is_replaced(realm: Realm) -> None:
    one = await realm.node(KENT, "kent-1")
    new = realm.signer.bundle(4)
    await one.node.bundles.offer(new, "test")
    await until(lambda: realm.stored == new)
    realm.etcd.put(ROOT + KEY, realm.signer.bundle(3))
    await until(lambda: realm.stored == new)
    assert epoch_of(one) == 4
    realm.etcd.delete(ROOT + KEY)
    await until(lambda: realm.stored == new)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"nothing", "bundle_malformed"), (b"", "bundle_malformed"), ("stranger", "bundle_untrusted")]
)
async def test_what_is_none_is_refused_and_counted(realm: Realm, data: bytes | str, reason: str) -> None:
    one = await realm.node(KENT, "kent-1")
    if isinstance(data, str):
        data = Signer(realm.nodes.pki, wrong_ca=True, folder="stranger").bundle(9)
    realm.etcd.put(ROOT + KEY, data)
    await until(lambda: one.node.refused.total().get(reason) == 1)
    assert epoch_of(one) == 0


async def test_a_silent_store_takes_nothing_back(realm: Realm) -> None:
    one = await realm.node(KENT, "kent-1")
    await one.node.bundles.offer(realm.signer.bundle(4), "test")
    await until(lambda: realm.stored is not None)
    realm.etcd.members[0].leaderless = True
    realm.etcd.wipe()
    await until(lambda: not realm.made[0][1].state.live, 15)
    assert epoch_of(one) == 4
