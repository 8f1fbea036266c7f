"""A back-up of a node: what is in it, what is left out, and that a node starts from it."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec import Struct

from pcgrelay import backup, config
from pcgrelay.backup import make_backup
from pcgrelay.cli.root import pcgrelay as command
from pcgrelay.errors import ConfigError, RunError
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.restoring import restore
from pcgrelay.state.file import StateFile
from tests.support.pki import RealmPki, write_config

MADE = "2026-11-30T12:00:00.000Z"


class Kept(Struct):
    value: int


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """Returns the configuration of a node with state and an audit log."""
    pki = RealmPki(tmp_path / "etc")
    files = pki.issue("met.police.example", "met-1")
    state = tmp_path / "state"
    (state / "audit" / "log").mkdir(parents=True, mode=0o700)
    (state / "audit" / "log" / "000000000000.jsonl").write_text("{}\n")
    (state / "audit" / "checkpoint").write_text("x\n")
    (state / "audit" / "key.ed25519").write_text("secret\n")
    StateFile(state / "outlets.json", "kept", 1, Kept).write(Kept(1))
    (state / "lock").write_text("17\n")
    (state / ".outlets.json.tmp").write_text("draft")
    link = {"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}
    path = tmp_path / "etc" / "met-1.toml"
    return write_config(
        path, files, "met.police.example", "met-1", links=[link], node_table={"state": str(state)}, crl=True
    )


def names(target: Path) -> set[str]:
    with tarfile.open(target) as tar:
        return {Path(member.name).name for member in tar}


def test_a_node_starts_from_it_and_its_keys_stay_at_home(node: Path, tmp_path: Path) -> None:
    target = tmp_path / "met-1.tgz"
    settings = config.load(node)
    make_backup(settings, target, MADE)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    found = names(target)
    assert {"met-1.toml", "outlets.json", "checkpoint", settings.identity.certificate.name} <= found
    assert not found & {settings.identity.key.name, "key.ed25519", "lock", "000000000000.jsonl", ".outlets.json.tmp"}
    restored = restore([target], node)
    assert restored.problem == ""
    assert {each.name: each.outcome for each in restored.files}["identity.key"] == "left out"
    assert restored.policy == digest_on_disk(settings)


def test_with_keys_it_has_them(node: Path, tmp_path: Path) -> None:
    target = tmp_path / "met-1.tgz"
    settings = config.load(node)
    make_backup(settings, target, MADE, keys=True)
    assert {settings.identity.key.name, "key.ed25519"} <= names(target)
    restored = restore([target], node)
    assert restored.problem == ""
    assert {each.name: each.outcome for each in restored.files}["identity.key"] == "same"


def test_a_ca_goes_with_it_without_its_key(node: Path, tmp_path: Path) -> None:
    target = tmp_path / "met-1.tgz"
    make_backup(config.load(node), target, MADE, ca=tmp_path / "etc" / "ca")
    assert "index.json" in names(target)
    assert not any(each.endswith(".key") for each in names(target))
    with pytest.raises(ConfigError, match="no CA in this folder"):
        make_backup(config.load(node), tmp_path / "b.tgz", MADE, ca=tmp_path)
    assert not (tmp_path / "b.tgz").exists()


def test_a_back_up_replaces_nothing(node: Path, tmp_path: Path) -> None:
    target = tmp_path / "met-1.tgz"
    target.write_text("mine")
    with pytest.raises(RunError, match="replaces nothing"):
        make_backup(config.load(node), target, MADE)
    assert target.read_text() == "mine"
    with pytest.raises(RunError, match="cannot be written"):
        make_backup(config.load(node), tmp_path / "no" / "met-1.tgz", MADE)


def test_what_cannot_be_read_leaves_no_half_of_it(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = config.load(node)
    settings.identity.trust.unlink()
    with pytest.raises(ConfigError, match="there is no file at this path"):
        make_backup(settings, tmp_path / "met-1.tgz", MADE)
    assert not (tmp_path / "met-1.tgz").exists()
    monkeypatch.setattr(backup, "FILE_MOST_BYTES", 3)
    with pytest.raises(ConfigError, match="larger than"):
        make_backup(settings, tmp_path / "met-1.tgz", MADE)
    monkeypatch.setattr(backup, "FILES_MOST", 3)
    with pytest.raises(ConfigError, match="more than 3 files"):
        make_backup(settings, tmp_path / "met-1.tgz", MADE)


def test_a_corrupt_one_starts_no_node(node: Path, tmp_path: Path) -> None:
    target = tmp_path / "met-1.tgz"
    make_backup(config.load(node), target, MADE)
    data = bytearray(target.read_bytes())
    data[len(data) // 2] ^= 0xFF
    target.write_bytes(data)
    with pytest.raises(ConfigError, match="read"):
        restore([target], node)


def test_the_command_says_what_it_wrote(node: Path, tmp_path: Path) -> None:
    target = tmp_path / "met-1.tgz"
    done = CliRunner().invoke(command, ["backup", str(target), "-c", str(node)])
    assert done.exit_code == 0, done.output
    assert "without private keys" in done.output
    assert f"pcgrelay drill restore {target} -c {node}" in done.output


def test_logs_that_were_begun_again_and_their_keys_stay_at_home(node: Path, tmp_path: Path) -> None:
    settings = config.load(node)
    assert settings.node.state is not None
    audit = settings.node.state / "audit"
    (audit / "old-2026-11-03T021407Z" / "log").mkdir(parents=True)
    (audit / "old-2026-11-03T021407Z" / "key.mldsa44").write_text("private")
    (audit / "old-2026-11-03T021407Z" / "log" / "000000000007.jsonl").write_text("{}")
    # It grows by a line each minute, for as long as the node is there.
    (audit / "checkpoints.jsonl").write_text("{}")
    for keys in (False, True):
        target = tmp_path / f"met-{keys}.tgz"
        make_backup(settings, target, MADE, keys=keys)
        assert not names(target) & {"key.mldsa44", "000000000007.jsonl", "checkpoints.jsonl"}
        assert restore([target], node).problem == ""
