"""Nodes of a realm that write into a fake store: their identities, and clients of the store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pcgrelay import config
from pcgrelay.clock import SYSTEM_CLOCK, Clock
from pcgrelay.fleet.client import StoreAccess, StoreClient, StoreState
from pcgrelay.fleet.values import root_of
from pcgrelay.identity.local import LocalIdentity
from tests.support.fake_etcd import FakeEtcd
from tests.support.pki import REALM, RealmPki, write_config

KENT, MET = "kent.police.example", "met.police.example"
ROOT = root_of(REALM)

TABLE = {"store": "etcd", "endpoints": ["https://etcd-1.store.example:2379"]}


class Fleet:
    """A realm in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pki = RealmPki(folder)
        self.told: list[StoreState] = []

    def node(self, organisation: str, name: str, **wrong: bool) -> LocalIdentity:
        """Return the identity of a node; wrong: as `RealmPki.issue` takes it."""
        files = self.pki.issue(organisation, name, **wrong)  # type: ignore[arg-type]
        path = self.folder / f"{name}.{organisation.partition('.')[0]}.toml"  # short, for the socket beside it
        return LocalIdentity(config.load(write_config(path, files, organisation, name, listens=["127.0.0.1:7400"])))

    def client(self, store: FakeEtcd, clock: Clock = SYSTEM_CLOCK, user: str = "", password: str = "") -> StoreClient:
        access = StoreAccess(endpoints=store.endpoints, root=ROOT, user=user, password=password)
        return StoreClient(access, clock, self.told.append)


def identity(realm: Fleet, name: str, organisation: str = KENT, **tables: Any) -> LocalIdentity:
    """Return the identity of a node with other tables, anew each time."""
    files = realm.pki.issue(organisation, name, into=f"{name}-{len(list(realm.folder.iterdir()))}")
    path = write_config(realm.folder / f"{name}.toml", files, organisation, name, listens=["127.0.0.1:7400"], **tables)
    return LocalIdentity(config.load(path))
