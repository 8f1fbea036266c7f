"""SHA256SUMS: a changed byte in any file is found, and a list that was changed itself is refused."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from pcgrelay.assure.pack import pack_files, write_pack
from pcgrelay.assure.sums import differences, read_sums
from pcgrelay.errors import ConfigError
from tests.support.evidence_examples import evidence


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    folder = tmp_path / "evidence"
    write_pack(folder, pack_files(evidence(tmp_path)))
    return folder


def found(folder: Path) -> list[str]:
    return list(differences(folder, read_sums(folder)))


def test_what_was_written_is_unchanged(pack: Path) -> None:
    assert found(pack) == []


def test_a_changed_byte_in_any_file_is_found(pack: Path) -> None:
    chance = random.Random(13)
    names = list(read_sums(pack))
    assert len(names) > 15
    for name in names:
        path = pack / name
        data = path.read_bytes()
        at = chance.randrange(len(data))
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
        assert found(pack) == [f"{name} was changed"]
        path.write_bytes(data)
    assert found(pack) == []


def test_a_file_that_was_added_or_removed_is_found(pack: Path) -> None:
    (pack / "controls" / "more").mkdir()
    (pack / "controls" / "more" / "x.json").write_text("{}")
    (pack / "results.json").unlink()
    assert found(pack) == ["results.json is missing", "controls/more/x.json was added"]


def test_a_link_or_a_pipe_in_the_place_of_a_file_is_a_change(pack: Path) -> None:
    (pack / "results.json").rename(pack.parent / "results.json")
    (pack / "results.json").symlink_to(pack.parent / "results.json")
    (pack / "summary.md").unlink()
    os.mkfifo(pack / "summary.md")
    (pack / "folder").symlink_to("/tmp")
    assert found(pack) == ["results.json was changed", "summary.md was changed", "folder was added"]


def test_signatures_of_the_sums_are_no_change(pack: Path) -> None:
    (pack / "SHA256SUMS.assurance.sig").write_text("x")
    (pack / "pack.tlog-proof").write_text("x")
    assert found(pack) == []
    (pack / "controls" / "SHA256SUMS.x.sig").write_text("x")
    assert found(pack) == ["controls/SHA256SUMS.x.sig was added"]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("  ", " ", 1),
        lambda text: text + text,
        lambda text: text + "0" * 64 + "  ../outside\n",
        lambda text: text + "0" * 64 + "  /etc/passwd\n",
        lambda text: text + "0" * 64 + "  a//b\n",
        lambda text: text + "0" * 64 + "  SHA256SUMS\n",
        lambda text: text.upper(),
    ],
)
def test_a_list_that_was_changed_is_refused(pack: Path, change: object) -> None:
    path = pack / "SHA256SUMS"
    path.write_text(change(path.read_text()))  # type: ignore[operator]
    with pytest.raises(ConfigError):
        read_sums(pack)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="list of digests"):
        read_sums(tmp_path)
