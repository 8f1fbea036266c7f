"""A realm, a fake store of three members, and a client of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from pcgrelay.fleet.client import StoreClient
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_nodes import Fleet


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet(Path(tmp_path_factory.mktemp("realm")))


@pytest_asyncio.fixture
async def store() -> AsyncIterator[FakeEtcd]:
    """A store of three members."""
    store = FakeEtcd()
    for _ in range(3):
        await store.add_member()
    yield store
    await store.close()


@pytest_asyncio.fixture
async def client(store: FakeEtcd, fleet: Fleet) -> AsyncIterator[StoreClient]:
    fleet.told.clear()
    client = fleet.client(store)
    yield client
    await client.close()
