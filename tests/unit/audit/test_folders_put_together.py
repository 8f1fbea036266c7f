"""A folder that was put together of two logs, or to which something was added: a node signs it only if it is whole."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pcgrelay.audit.disk import Disk
from pcgrelay.audit.history import HISTORY, NEWEST
from pcgrelay.audit.restarting import CONFLICT, PENDING
from pcgrelay.audit.tile_sync import SYNCED
from pcgrelay.audit.verify import Keys, verify_log
from tests.support.dying_processes import begin, write
from tests.support.written_logs import check_log, check_tiles, keys_in

RECORDS = 700


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two logs of one node: the second is longer, and has other keys."""
    folder = tmp_path_factory.mktemp("logs")
    for name, count in (("one", RECORDS), ("other", 2 * RECORDS)):
        writer = begin(folder / name, Disk())
        write(writer, count)
        write(writer, 1)
        writer._close()
    return folder / "one", folder / "other"


@pytest.fixture
def folder(logs: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(logs[0], tmp_path / "audit"))


def problems(folder: Path) -> set[str]:
    public = keys_in(folder).public
    report = verify_log(folder, lambda told, origin: Keys((public.ed25519, public.ml_dsa_44), (), "policy"))
    return {each.kind for each in report.problems}


def copy(name: str) -> Callable[[Path, Path], object]:
    def take(folder: Path, other: Path) -> None:
        if (other / name).is_dir():
            shutil.rmtree(folder / name)
            shutil.copytree(other / name, folder / name)
        else:
            shutil.copy(other / name, folder / name)

    return take


def tile(folder: Path, other: Path) -> None:
    shutil.copy(other / "tile" / "0" / "000", folder / "tile" / "0" / "000")


def both_keys(folder: Path, other: Path) -> None:
    for name in ("key.ed25519", "key.mldsa44"):
        shutil.copy(other / name, folder / name)


@pytest.mark.parametrize("act", [copy("tile"), tile])
def test_tiles_of_another_log_are_found_and_made_again(
    folder: Path, logs: tuple[Path, Path], act: Callable[[Path, Path], object]
) -> None:
    act(folder, logs[1])
    assert problems(folder) == {"tile"}
    (folder / SYNCED).unlink(missing_ok=True)
    writer = begin(folder, Disk())
    assert not writer.refusing
    write(writer, 1)
    check_tiles(folder)
    assert problems(folder) == set()
    assert len(check_log(folder)) == RECORDS + 3


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (copy("log"), "not those that were signed"),
        (copy(HISTORY), "have two heads|known"),
        (copy(NEWEST), "known"),
        (both_keys, "None of the signatures is by a key that is known"),
        (copy("key.ed25519"), "signed by another key than those of the log"),
        (copy("key.mldsa44"), "signed by another key than those of the log"),
    ],
)
def test_parts_of_another_log_are_never_signed(
    folder: Path, logs: tuple[Path, Path], act: Callable[[Path, Path], object], words: str
) -> None:
    act(folder, logs[1])
    writer = begin(folder, Disk())
    assert re.search(words, writer.refusing)
    newest = (folder / NEWEST).read_bytes()
    write(writer, 3)
    assert (folder / NEWEST).read_bytes() == newest


def test_an_empty_segment_that_was_put_in_changes_nothing_that_is_signed(folder: Path) -> None:
    (folder / "log" / "000000000300.jsonl").touch()
    assert problems(folder) == set()
    writer = begin(folder, Disk())
    write(writer, 1)
    if not writer.refusing:
        check_tiles(folder)
        assert problems(folder) == set()


def test_an_empty_last_segment_is_gone_on_with(folder: Path) -> None:
    """The process ended between making it and the first line in it."""
    size = len(check_log(folder))
    (folder / "log" / f"{size:012d}.jsonl").touch()
    writer = begin(folder, Disk())
    assert not writer.refusing
    write(writer, 5)
    assert len(check_log(folder)) == size + 5
    assert problems(folder) == set()


@pytest.mark.parametrize("name", [CONFLICT, PENDING, SYNCED, NEWEST, HISTORY, "key.ed25519", "certificate.sha256"])
def test_a_pipe_in_the_place_of_a_file_blocks_nobody(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    writer = begin(folder, Disk())
    write(writer, 1)
    assert writer.refusing or writer.failing or writer.store is not None


@pytest.mark.parametrize("name", ["log/000000000000.jsonl", "tile/0/002", "tile/1/000"])
def test_a_pipe_in_the_place_of_a_segment_or_a_tile_blocks_nobody(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    writer = begin(folder, Disk())
    write(writer, 300)
    problems(folder)
