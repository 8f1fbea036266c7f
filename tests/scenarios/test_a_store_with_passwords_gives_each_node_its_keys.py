"""A real etcd with users and roles: a node writes what its role allows, and a token that has expired is renewed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pcgrelay import config
from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.fleet import errors
from pcgrelay.fleet.client import StoreAccess, StoreClient
from pcgrelay.fleet.errors import StoreRefused, StoreSilent
from pcgrelay.fleet.values import root_of
from pcgrelay.identity.local import LocalIdentity
from pcgrelay.identity.store_tls import store_context
from tests.support.etcd_members import EtcdMembers, etcd_members
from tests.support.fleet_nodes import KENT, Fleet
from tests.support.pki import REALM, write_config

pytestmark = pytest.mark.tier_all

OWN = f"nodes/{KENT}/kent-1"


def client_of(realm: Fleet, store: EtcdMembers, password: str) -> StoreClient:
    files = realm.pki.issue(KENT, "kent-1", into=f"kent-1-{password}")
    secret = realm.folder / password
    secret.touch(0o600)
    secret.write_text(f"{password}\n")
    table = {"store": "etcd", "endpoints": store.endpoints, "user": "kent-1", "password": str(secret)}
    path = write_config(realm.folder / "kent-1.toml", files, KENT, "kent-1", listens=["127.0.0.1:7400"], fleet=table)
    local = LocalIdentity(config.load(path))
    credentials = local.store_credentials
    assert credentials is not None
    access = StoreAccess(
        endpoints=tuple(store.endpoints),
        root=root_of(REALM),
        context=store_context(credentials),
        user="kent-1",
        password=credentials.password,
    )
    return StoreClient(access, SYSTEM_CLOCK)


async def test_a_role_keeps_a_node_to_its_keys(tmp_path: Path) -> None:
    realm = Fleet(tmp_path)
    with etcd_members(tmp_path / "store", realm.pki, 1) as store:
        (member,) = store.members

        def ask(path: str, **body: object) -> None:
            store.ask(member, path, dict(body))

        ask("auth/user/add", name="root", password="of-root")
        ask("auth/role/add", name="root")
        ask("auth/user/grant", user="root", role="root")
        ask("auth/user/add", name="kent-1", password="right")
        ask("auth/role/add", name="kent-1")
        for kind, prefix in (("READWRITE", root_of(REALM) + OWN), ("READ", root_of(REALM))):
            key = prefix.encode()
            end = key[:-1] + bytes([key[-1] + 1])
            permission = {"permType": kind, "key": _text(key), "range_end": _text(end)}
            ask("auth/role/grant", name="kent-1", perm=permission)
        ask("auth/user/grant", user="kent-1", role="kent-1")
        ask("auth/enable")

        client = client_of(realm, store, "right")
        lease = await client.grant(5)
        await client.put(OWN, b"here", lease)
        assert await client.keep(lease)
        assert list((await client.load("nodes/")).values) == [OWN]
        with pytest.raises(StoreRefused) as refused:
            await client.put(f"nodes/{KENT}/kent-2", b"there")
        assert refused.value.reason == errors.PERMISSION
        assert client.state.live
        # A token that the store does not know any more, as after its restart.
        client._token = "unknown.1"
        await client.put(OWN, b"again", lease)
        assert client._token != "unknown.1"
        await client.close()
        wrong = client_of(realm, store, "wrong")
        with pytest.raises(StoreSilent) as silent:
            await wrong.put(OWN, b"here")
        assert silent.value.reason == errors.UNAUTHENTICATED
        await wrong.close()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
