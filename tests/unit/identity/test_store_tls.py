"""The files by which the store is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from pcgrelay.config import FleetSettings, IdentitySettings
from pcgrelay.errors import ConfigError, PermissionProblem
from pcgrelay.identity.credentials import Credentials, load_credentials
from pcgrelay.identity.store_tls import load_store_credentials, store_context
from tests.support.pki import Files, RealmPki

KENT = "kent.police.example"
ONE = ("https://etcd-1.hub.example:2379",)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> RealmPki:
    return RealmPki(tmp_path_factory.mktemp("realm"))


@pytest.fixture(scope="module")
def own(pki: RealmPki) -> Credentials:
    files = pki.issue(KENT, "kent-1")
    return load_credentials(IdentitySettings(certificate=files.certificate, key=files.key, trust=files.trust, crl=None))


@pytest.fixture(scope="module")
def other(pki: RealmPki) -> Files:
    return pki.issue(KENT, "kent-2")


def test_without_files_of_its_own_it_is_the_identity(own: Credentials) -> None:
    found = load_store_credentials(FleetSettings(store="etcd", endpoints=ONE), own)
    assert (found.chain, found.key, found.trust, found.password) == (own.chain, own.key, own.trust, "")
    context = store_context(found)
    assert context.check_hostname
    assert len(context.get_ca_certs()) == 1


def test_files_of_its_own(own: Credentials, other: Files, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("secret word\n")
    settings = FleetSettings(
        store="etcd", endpoints=ONE, certificate=other.certificate, key=other.key, trust=other.trust, user="a",
        password=password,
    )  # fmt: skip
    found = load_store_credentials(settings, own)
    assert found.chain[0] == other.leaf
    assert found.password == "secret word"
    assert "secret" not in repr(found)
    store_context(found)


def test_a_key_of_another_certificate_is_refused(own: Credentials, pki: RealmPki, other: Files) -> None:
    key = pki.issue(KENT, "kent-3").key
    settings = FleetSettings(store="etcd", endpoints=ONE, certificate=other.certificate, key=key)
    with pytest.raises(ConfigError, match="does not belong to"):
        load_store_credentials(settings, own)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff", b"tab\there", b"x" * 257])
def test_what_is_no_password_is_refused(own: Credentials, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "password"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_store_credentials(FleetSettings(store="etcd", endpoints=ONE, user="a", password=path), own)


def test_a_password_that_others_may_read_is_refused(own: Credentials, tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("secret\n")
    path.chmod(0o644)
    with pytest.raises(PermissionProblem, match="may use the password"):
        load_store_credentials(FleetSettings(store="etcd", endpoints=ONE, user="a", password=path), own)
