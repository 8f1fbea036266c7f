"""A log that is begun again names the one before it, wherever the process ends or the power fails."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import msgspec
import pytest

from pcgrelay.audit.checkpoint import base64_text
from pcgrelay.audit.history import read_newest
from pcgrelay.audit.restarting import OLD, PENDING, Restart
from pcgrelay.audit.verify import keys_of_itself, verify_log
from pcgrelay.audit.writer import LogWriter
from pcgrelay.log.audit_events import AuditRestarted
from tests.support.dying_processes import FAR, DyingDisk, Killed, begin, process, write
from tests.support.written_logs import NODE, FullDisk, LyingDisk, check_log, check_tiles, records_of

RESTART = Restart(uid=7, by="j.smith", reason="the disk was restored")


def cut(folder: Path) -> None:
    """Take the last signed record away."""
    (segment,) = (folder / "log").glob("*.jsonl")
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A log that cannot be signed any more, and the root of its newest head."""
    folder = tmp_path_factory.mktemp("broken") / "audit"
    writer = begin(folder, LyingDisk(random.Random(1)))
    write(writer, 5)
    writer._close()
    newest = read_newest(folder)
    assert newest is not None
    cut(folder)
    return folder, base64_text(newest.checkpoint.root)


def go_on(folder: Path, disk: LyingDisk) -> LogWriter:
    """What happens after a process ended: another begins, and if it refuses, somebody does the restart again."""
    writer = begin(folder, disk)
    if writer.refusing:
        assert not writer.begin_again(RESTART)
    write(writer, 2)
    return writer


def check_named(folder: Path, root: str, size: int = 6) -> None:
    records = check_log(folder)
    check_tiles(folder)
    named = [record for record in records if record["event"] == "audit.restarted"]
    assert [(each["old_size"], each["old_root"]) for each in named] == [(size, root)]
    assert named[0]["n"] <= 2
    # The old one is in one piece.
    old = Path(named[0]["folder"])
    assert [each.name for each in folder.glob(f"{OLD}*")] == [old.name]
    assert (old / "checkpoint").exists()
    # The same key never signs two histories.
    for name in ("key.ed25519", "key.mldsa44"):
        assert (old / name).read_bytes() != (folder / name).read_bytes()
    assert (old / "log").is_dir()
    assert not (folder / PENDING).exists()
    report = verify_log(folder, keys_of_itself)
    assert (report.problems, report.verdict) == ((), "unproved")


@pytest.mark.parametrize("fails", [False, True])
def test_the_old_root_is_named_wherever_the_process_ends(tmp_path: Path, broken: tuple[Path, str], fails: bool) -> None:
    template, root = broken
    for steps in range(FAR):
        folder = tmp_path / str(steps)
        shutil.copytree(template, folder)
        disk = DyingDisk(random.Random(steps))
        writer = begin(folder, disk)
        assert writer.refusing
        disk.steps = steps
        try:
            assert not writer.begin_again(RESTART)
            write(writer, 1)
            ended = False
        except Killed:
            ended = True
        disk.steps = FAR
        if fails:
            disk.fail()
        check_after(folder, root, disk)
        if not ended:
            assert steps > 20
            return
    raise AssertionError("it never ends")


def check_after(folder: Path, root: str, disk: LyingDisk) -> None:
    writer = go_on(folder, disk)
    check_named(folder, root)
    writer._close()
    # And nothing is said a second time by the next one.
    begin(folder, disk)._close()
    check_named(folder, root)


def test_a_record_that_could_not_be_synced_is_written_again(
    tmp_path: Path, broken: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    template, root = broken
    folder = tmp_path / "audit"
    shutil.copytree(template, folder)
    disk = FullDisk()
    writer = begin(folder, disk)
    begin_to_write = writer._open

    def failing() -> None:
        begin_to_write()
        disk.syncs_fail = True

    monkeypatch.setattr(writer, "_open", failing)
    assert writer.begin_again(RESTART) == "input/output error"
    assert (folder / PENDING).exists()
    disk.syncs_fail = False
    write(writer, 1)
    writer._close()
    check_named(folder, root)


def test_a_log_that_was_begun_and_never_signed_is_named_with_the_one_before(
    tmp_path: Path, broken: tuple[Path, str]
) -> None:
    template, root = broken
    folder = tmp_path / "audit"
    shutil.copytree(template, folder)
    disk = FullDisk()
    writer = begin(folder, disk)
    disk.syncs_fail = True
    assert writer.begin_again(RESTART)
    disk.syncs_fail = False
    # Before anything of it is signed the process ends, and the next one is shown another history.
    writer._close()
    writer = begin(folder, disk)
    writer._close()
    writer = process(folder, disk)
    writer.refuse("A witness knows another history.")
    assert (folder / PENDING).exists()
    assert not writer.begin_again(RESTART)
    write(writer, 1)
    named = [record["old_root"] for record in records_of(folder) if record["event"] == "audit.restarted"]
    assert named[0] == root
    folders = {record["folder"] for record in records_of(folder) if record["event"] == "audit.restarted"}
    assert len(folders) == len(named) == len(list(folder.glob(f"{OLD}*"))) == 2


@pytest.mark.parametrize(
    "data", [b"{", b"", b'{"records":[{}]}', b'{"records":5}', b"\xff", b'{"records":[],"is_moving":1}']
)
def test_names_that_cannot_be_read_are_said_and_nothing_is_signed(tmp_path: Path, data: bytes) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    (folder / PENDING).write_bytes(data)
    writer = begin(folder, LyingDisk(random.Random(1)))
    assert "restarted.json" in writer.refusing
    assert not writer.begin_again(RESTART)
    assert [record["event"] for record in records_of(folder)] == ["audit.keys", "audit.restarted"]


def test_a_folder_of_another_place_is_never_moved_to(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    record = AuditRestarted(old_size=1, old_root="", folder="/etc", problem="", uid=0)
    (folder / PENDING).write_bytes(b'{"is_moving":true,"records":[%s]}' % msgspec.json.encode(record))
    writer = begin(folder, LyingDisk(random.Random(1)))
    assert "names no old audit logs" in writer.refusing


def test_a_node_that_was_renamed_says_whose_log_is_there(tmp_path: Path, broken: tuple[Path, str]) -> None:
    template, _ = broken
    folder = tmp_path / "audit"
    shutil.copytree(template, folder)
    writer = process(folder, LyingDisk(random.Random(1)))
    writer._node = type(NODE)("police.example", "kent.police.example", "kent-2")
    writer._open()
    assert "a head of pcgrelay.police.example/kent.police.example/kent-1, and the log is" in writer.refusing
    assert "kent-2" in writer.refusing
