"""A back-up is restored elsewhere: what is the same, what is not, and archives that are refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec import Struct

from pcgrelay import restoring
from pcgrelay.errors import ConfigError
from pcgrelay.restoring import restore
from pcgrelay.state.file import StateFile
from tests.support.pki import RealmPki, write_config


class Kept(Struct):
    value: int


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """A node with all its files in one folder, as in /etc, and its state in another; returns its configuration."""
    pki = RealmPki(tmp_path / "etc")
    files = pki.issue("met.police.example", "met-1")
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    keep(state, 1)
    (state / "lock").write_text("17\n")
    link = {"peer": "relay-1.hub.example", "address": "127.0.0.1:9"}
    path = tmp_path / "etc" / "met-1.toml"
    return write_config(
        path, files, "met.police.example", "met-1", links=[link], node_table={"state": str(state)}, crl=True
    )


def keep(state: Path, value: int) -> None:
    StateFile(state / "outlets.json", "kept", 1, Kept).write(Kept(value))


def archive(node: Path, name: str = "backup.tgz", *, without: str = "", inner: bool = False) -> Path:
    """Make a back-up. inner: from within the folders, as people do it too."""
    base = node.parents[1]
    made = base / name
    with tarfile.open(made, "w:gz") as tar:
        for path in sorted([*node.parent.rglob("*"), *(base / "state").rglob("*")]):
            if path.is_file() and not (without and path.name.endswith(without)):
                inside = path.relative_to(node.parent) if inner and path.is_relative_to(node.parent) else path
                tar.add(path, arcname=str(inside))
    return made


def outcomes(node: Path, *archives: Path) -> dict[str, str]:
    return {file.name: file.outcome for file in restore(archives or (archive(node),), node).files}


@pytest.mark.parametrize("inner", [False, True])
def test_a_back_up_of_now_is_the_node_that_runs(node: Path, inner: bool) -> None:
    found = restore([archive(node, inner=inner)], node)
    assert found.problem == ""
    assert {file.outcome for file in found.files} == {"same"}
    names = {file.name for file in found.files}
    assert {"configuration", "identity.certificate", "identity.key", "identity.trust", "state/outlets.json"} <= names
    assert "state/lock" not in names
    assert all(len(file.sha256) == 64 for file in found.files)
    assert f"{len(found.files)} of {len(found.files)} files are as they are now" in found.sentence


def test_several_archives_are_one_back_up(node: Path) -> None:
    first, second = archive(node, "a.tar", without=".key"), archive(node, "b.tar", without=".toml")
    assert restore([first, second], node).problem == ""


def test_what_has_changed_since_is_another_node(node: Path) -> None:
    made = archive(node)
    node.write_text(node.read_text() + "# another line\n")
    found = restore([made], node)
    assert "configuration (differs)" in found.problem
    assert "is not the one that runs" in found.sentence


def test_what_is_missing_is_named(node: Path) -> None:
    found = restore([archive(node, without=".key")], node)
    assert found.problem.startswith("identity.key: ")
    assert {file.name: file.outcome for file in found.files}["identity.key"] == "missing"


def test_older_state_is_fine_and_torn_state_is_not(node: Path) -> None:
    state = node.parents[1] / "state"
    made = archive(node)
    keep(state, 2)
    assert outcomes(node, made)["state/outlets.json"] == "older"
    assert restore([made], node).problem == ""
    text = (state / "outlets.json").read_text()
    (state / "outlets.json").write_text(text.replace('"value":2', '"value":3'))
    torn = restore([archive(node)], node)
    assert "state/outlets.json (damaged)" in torn.problem


def test_state_that_was_not_there_then_is_newer_and_state_that_was_is_missed(node: Path) -> None:
    state = node.parents[1] / "state"
    made = archive(node, without="outlets.json")
    assert outcomes(node, made)["state/outlets.json"] == "missing"
    later = made.stat().st_mtime + 60
    os.utime(state / "outlets.json", (later, later))
    assert outcomes(node, made)["state/outlets.json"] == "newer"


def test_a_key_that_others_could_read_is_found_by_check(node: Path) -> None:
    key = next(node.parent.rglob("met-1.key"))
    made = archive(node)
    assert restore([made], node).problem == ""
    key.chmod(0o644)
    assert "identity.key" in restore([archive(node)], node).problem


def test_nothing_is_left_behind(node: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    restore([archive(node)], node)
    with pytest.raises(ConfigError):
        restore([node], node)
    assert list(elsewhere.iterdir()) == []


def odd(node: Path, member: tarfile.TarInfo, data: bytes = b"") -> Path:
    made = node.parents[1] / "odd.tar"
    with tarfile.open(made, "w") as tar:
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return made


def link_to(target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo("etc/met-1.toml")
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def device() -> tarfile.TarInfo:
    member = tarfile.TarInfo("etc/null")
    member.type = tarfile.CHRTYPE
    return member


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda node: odd(node, tarfile.TarInfo("../../etc/cron.d/x"), b"x"), "would leave the folder"),
        (lambda node: odd(node, tarfile.TarInfo("a/../../b"), b"x"), "would leave the folder"),
        (lambda node: odd(node, link_to("/etc/shadow")), "is a link or a device"),
        (lambda node: odd(node, device()), "is a link or a device"),
        (lambda node: odd(node, tarfile.TarInfo("etc/other.toml"), b"x"), "There is no met-1.toml in the back-up"),
        (lambda node: node, "no tar archive that can be read"),
        (lambda node: node.with_name("nothing.tgz"), "cannot be read"),
    ],
)
def test_an_archive_that_is_none_is_refused(node: Path, made: Callable[[Path], Path], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        restore([made(node)], node)


def test_a_truncated_archive_is_refused(node: Path) -> None:
    whole = archive(node).read_bytes()
    torn = node.parents[1] / "torn.tgz"
    for length in range(0, len(whole) - 20, max(1, len(whole) // 20)):
        torn.write_bytes(whole[:length])
        with contextlib.suppress(ConfigError):
            # Where the cut falls behind the last file, nothing is missing.
            assert restore([torn], node).problem == ""
            assert length > 0.9 * len(whole)


def test_an_archive_that_is_too_large_is_refused(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restoring, "FILES_MOST", 3)
    with pytest.raises(ConfigError, match="more than 3 files"):
        restore([archive(node)], node)
    monkeypatch.setattr(restoring, "FILES_MOST", 1_000)
    monkeypatch.setattr(restoring, "BYTES_MOST", 1_000)
    with pytest.raises(ConfigError, match="is more than 0 MiB"):
        restore([archive(node)], node)


def test_an_absolute_name_stays_in_the_folder(node: Path) -> None:
    member = tarfile.TarInfo(str(node))
    found = restore([odd(node, member, b"[node]\n")], node)
    assert node.read_text() != "[node]\n"
    assert "is missing" in found.problem


def test_a_few_bytes_that_unpack_to_a_header_without_end_are_refused(
    node: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """tarfile reads the extended header of a member whole, whatever its length."""
    monkeypatch.setattr(restoring, "PIECE_MOST", 1 << 16)
    made = node.parents[1] / "bomb.tgz"
    header = tarfile.TarInfo("h")
    header.type, header.size = tarfile.XHDTYPE, 64 << 20
    with gzip.open(made, "wb") as sink:
        sink.write(header.tobuf())
        for _ in range(64):
            sink.write(bytes(1 << 20))
    assert made.stat().st_size < 1 << 17
    with pytest.raises(ConfigError, match="a header in it is too long"):
        restore([made], node)


def test_headers_before_headers_are_refused(node: Path) -> None:
    """tarfile calls itself for each."""
    made = node.parents[1] / "deep.tar"
    header = tarfile.TarInfo("h")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 2
    made.write_bytes((header.tobuf(tarfile.GNU_FORMAT) + b"a\0" + bytes(510)) * 3_000)
    with pytest.raises(ConfigError, match="no tar archive that can be read"):
        restore([made], node)


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz"])
def test_an_archive_that_was_damaged_anywhere_is_refused_in_a_sentence(node: Path, packed: str) -> None:
    (node.parent / "noise.txt").write_bytes(os.urandom(200_000))
    made = node.parents[1] / f"whole.tar.{packed}"
    with tarfile.open(made, f"w:{packed}") as tar:
        for path in sorted(node.parent.rglob("*")):
            tar.add(path, arcname=str(path))
    whole = made.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        made.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with contextlib.suppress(ConfigError):
            restore([made], node)
