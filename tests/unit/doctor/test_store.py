"""Each member of a fleet's store, examined."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.doctor import store as module
from pcgrelay.doctor.store import examine_store
from pcgrelay.finding import OK, WARNING
from pcgrelay.fleet.client import StoreAccess
from pcgrelay.identity.local import LocalIdentity
from tests.support.fake_etcd import FakeEtcd
from tests.support.fleet_nodes import KENT, ROOT, Fleet


async def test_each_member_is_asked_and_one_that_is_away_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pcgrelay.fleet.client.REQUEST_S", 0.3)
    store = FakeEtcd()
    members = [await store.add_member() for _ in range(3)]
    members[1].leaderless = True
    await store.stop_member(members[2])
    own = Fleet(tmp_path).node(KENT, "kent-1")
    monkeypatch.setattr(module, "store_access", lambda _: StoreAccess(endpoints=store.endpoints, root=ROOT))
    found = await examine_store(own, SYSTEM_CLOCK)
    await store.close()
    assert [(each.where, each.level) for each in found] == [
        ("fleet.endpoints[1]", OK),
        ("fleet.endpoints[2]", WARNING),
        ("fleet.endpoints[3]", WARNING),
    ]
    assert re.search("have no leader", found[1].sentence)
    assert re.search("takes a connection", found[2].sentence)


async def test_without_a_store_or_with_wrong_files_there_is_nothing_to_say(tmp_path: Path) -> None:
    own = Fleet(tmp_path).node(KENT, "kent-1")
    assert await examine_store(own, SYSTEM_CLOCK) == []
    assert await examine_store(None, SYSTEM_CLOCK) == []
    path = own.config.path
    gone = 'store = "etcd"\nendpoints = ["https://127.0.0.1:1"]\ntrust = "gone.pem"'
    path.write_text(f"{path.read_text()}\n[fleet]\n{gone}\n")
    assert await examine_store(LocalIdentity(config.load(path)), SYSTEM_CLOCK) == []
