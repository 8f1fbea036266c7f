"""Keys and certificates that step, Vault Agent, spiffe-helper and systemd keep: what they write, as they write it.

The tools themselves are not here. What is played is their way with files: written in place or renamed, in which order,
with which mode, and how the node is told (docs/keys.md).
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from tests.scenarios.kit.nodes import MET
from tests.scenarios.kit.reload_setup import Scene, applications, command, reload, reload_by_signal, scene
from tests.support.odd_pki import CLIENT, SERVER, Issuer, leaf, usage
from tests.support.waiting import until

pytestmark = pytest.mark.tier_test

ROTATIONS = 3
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(tmp_path_factory.mktemp("realm")) as made:
        yield made


@pytest.fixture
def realm(shared: Scene) -> Iterator[Scene]:
    """Nothing breaks in it, whatever is done with keys."""
    moments = [(node, node.moment()) for node in shared.nodes]
    with shared.restored():
        yield shared
    for node, since in moments:
        assert not node.log("link.down", since)
        assert not node.log("session.down", since)


def fresh_pair(realm: Scene) -> tuple[bytes, bytes]:
    """A new certificate and key of the Met."""
    files = realm.stage.pki.issue(MET, "met-1", into=f"fresh-{os.urandom(4).hex()}")
    return files.certificate.read_bytes(), files.key.read_bytes()


def svid(realm: Scene) -> tuple[bytes, bytes]:
    """What SPIRE issues: an hour, a subject, and more usages than are needed."""
    authority = realm.stage.pki.authority
    key = load_pem_private_key(authority.key_path.read_bytes(), None)
    usages = usage("digital_signature", "key_encipherment", "key_agreement")
    uri = f"spiffe://{realm.stage.pki.name}/org/{MET}/node/met-1"
    made, private = leaf(
        Issuer(authority.certificate, key), uri, start=-timedelta(seconds=10), end=HOUR, usages=usages,
        purposes=[SERVER, CLIENT],
    )  # fmt: skip
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    return made.public_bytes(Encoding.PEM), private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def tls_of(realm: Scene) -> Path:
    return realm.stage.folder / realm.met.dotted


def write_in_place(path: Path, data: bytes, mode: int) -> None:
    """As Go's os.WriteFile does: the file is cut to nothing first, and a mode that is there stays."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as sink:
        sink.write(data)


def write_renamed(path: Path, data: bytes, mode: int) -> None:
    """As consul-template and Vault Agent do: a draft beside it, then a rename."""
    draft = path.with_name(f"{path.name}.draft")
    write_in_place(draft, data, mode)
    draft.chmod(mode)
    os.replace(draft, path)


def test_step_writes_in_place_and_runs_a_reload(realm: Scene, figure: Callable[[str], None]) -> None:
    """`step ca rekey --daemon --exec "pcgrelay reload -c FILE"`."""
    tls = tls_of(realm)
    with applications(realm.door, 2) as witnesses:
        for _ in range(ROTATIONS):
            certificate, key = fresh_pair(realm)
            write_in_place(tls / "met-1.pem", certificate, 0o600)
            # Whoever reloads in between is refused, and the node goes on with the pair that it has.
            early = command("reload", "-c", realm.met.config)
            assert early.returncode == 78
            assert "does not belong to the certificate" in early.stderr
            write_in_place(tls / "met-1.key", key, 0o600)
            done = command("reload", "-c", realm.met.config)
            assert done.returncode == 0, done.stderr
        rounds = sum(witness.rounds for witness in witnesses)
    figure(f"{ROTATIONS} renewals, 0 errors in {rounds} exchanges")


def test_a_file_that_is_half_written_changes_nothing(realm: Scene) -> None:
    tls = tls_of(realm)
    certificate, key = fresh_pair(realm)
    for name, data in (("met-1.pem", certificate), ("met-1.key", key)):
        before = (tls / name).read_bytes()
        for part in (b"", data[: len(data) // 2]):
            write_in_place(tls / name, part, 0o600)
            answer = reload(realm.met)
            assert not answer.ok
            assert name in answer.reason
        write_in_place(tls / name, before, 0o600)
    assert reload(realm.met).ok


@pytest.mark.tier_all
def test_vault_agent_renames_and_runs_a_command(realm: Scene) -> None:
    """`perms = "0600"` for the key, and the command of the template that is rendered last."""
    tls = tls_of(realm)
    with applications(realm.door, 2):
        for _ in range(ROTATIONS):
            certificate, key = fresh_pair(realm)
            write_renamed(tls / "met-1.key", key, 0o600)
            write_renamed(tls / "met-1.pem", certificate, 0o644)
            assert reload(realm.met).changes == ("certificate renewed", "private key renewed")
    # Its default is 0644, which is too much for a key.
    certificate, key = fresh_pair(realm)
    write_renamed(tls / "met-1.key", key, 0o644)
    answer = reload(realm.met)
    assert not answer.ok
    assert answer.exit_code == 77
    assert "chmod 600" in answer.reason
    write_renamed(tls / "met-1.key", key, 0o600)
    write_renamed(tls / "met-1.pem", certificate, 0o644)


@pytest.mark.tier_all
def test_spiffe_helper_writes_three_files_and_sends_a_signal(realm: Scene) -> None:
    """`renew_signal = "SIGHUP"`; certificates live for an hour, and there is no list."""
    folder = realm.stage.folder / "svids"
    folder.mkdir()

    def write() -> None:
        certificate, key = svid(realm)
        write_in_place(folder / "svid.pem", certificate, 0o644)
        write_in_place(folder / "svid_key.pem", key, 0o600)
        write_in_place(folder / "svid_bundle.pem", realm.stage.pki.trust.read_bytes(), 0o644)

    write()
    realm.change(
        realm.met,
        crl=False,
        identity={
            "certificate": str(folder / "svid.pem"),
            "key": str(folder / "svid_key.pem"),
            "trust": str(folder / "svid_bundle.pem"),
        },
    )
    assert reload(realm.met).ok
    since = realm.met.moment()
    with applications(realm.door, 2):
        for number in range(ROTATIONS):
            before = len(realm.met.log("config.reloaded"))
            write()
            reload_by_signal(realm.met)
            until(lambda before=before: len(realm.met.log("config.reloaded")) == before + 1)
            assert not realm.met.log("config.refused", since), number
    (own,) = [date for date in realm.met.status().credentials.dates if date.kind == "own"]
    assert own.not_after - own.not_before < 2 * HOUR


def test_a_credential_of_systemd_may_be_read_by_its_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LoadCredential= gives 0440 on newer versions; elsewhere that is refused for a key that this user owns."""
    folder = tmp_path / "credentials"
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    with scene(tmp_path / "realm") as realm:
        tls = tls_of(realm)
        shutil.copy(tls / "met-1.key", folder / "node.key")
        (folder / "node.key").chmod(0o440)
        realm.change(realm.met, identity={"key": str(folder / "node.key")})
        assert reload(realm.met).ok
        realm.met.stop()
        realm.stage.start(realm.met)
        realm.stage.await_well(realm.met)
        assert stat.S_IMODE((folder / "node.key").stat().st_mode) == 0o440
        (tls / "met-1.key").chmod(0o440)
        realm.change(realm.met, identity={"key": str(tls / "met-1.key")})
        answer = reload(realm.met)
        assert not answer.ok
        assert answer.exit_code == 77


@pytest.mark.tier_all
def test_renew_beside_a_running_node_changes_nothing_before_the_reload(realm: Scene) -> None:
    since = realm.met.moment()
    with applications(realm.door, 1):
        done = command("ca", "renew", "-c", realm.met.config, "--ca", realm.stage.pki.authority.folder)
        assert done.returncode == 0, done.stderr
        assert not realm.met.log("config.reloaded", since)
        assert reload(realm.met).changes == ("certificate renewed", "private key renewed")
    old = tls_of(realm) / "met-1.old.key"
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
