"""What the demonstration of a cut-over refuses before it begins: one sentence each, and nothing is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from pcgrelay.cli.root import pcgrelay as command
from pcgrelay.demo import cutover, folders
from pcgrelay.demo.cutover import database
from pcgrelay.demo.cutover.paper import refuse_folder
from pcgrelay.demo.cutover.realm import checked_door
from pcgrelay.demo.folders import named_folder
from pcgrelay.demo.nodes import RELAYS, end_all_of
from pcgrelay.demo.realm import MEMBERS
from pcgrelay.errors import PermissionProblem, RunError, UsageProblem


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.parametrize("text", ["", "15432", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "a:b"])
def test_an_address_needs_a_port(text: str) -> None:
    with pytest.raises(UsageProblem, match="is no address with a port"):
        checked_door(text)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "localhost", "[::1]", "127.1", "128.0.0.1"])
def test_nothing_but_the_loopback_device_is_listened_on(host: str) -> None:
    with pytest.raises(UsageProblem, match="is not of the loopback device"):
        checked_door(f"{host}:15432")


def test_a_port_in_use_is_named(taken: int) -> None:
    with pytest.raises(
        RunError, match=rf"--listen: 127\.0\.0\.1:{taken} cannot be listened on \(address already in use"
    ):
        checked_door(f"127.0.0.1:{taken}")


def test_a_free_one_is_taken(taken: int) -> None:
    assert checked_door(f"127.0.0.3:{taken}") == ("127.0.0.3", taken)


def test_a_folder_that_is_there_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(RunError, match="never overwritten; name another folder with --out"):
            refuse_folder(folder)


def test_a_folder_in_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="does not exist; create it first"):
        refuse_folder(tmp_path / "no" / "report")


def test_a_good_one_is_not_made_yet(tmp_path: Path) -> None:
    refuse_folder(tmp_path / "report")
    assert list(tmp_path.iterdir()) == []


def test_where_nobody_may_write_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(PermissionProblem, match="this user may not write here"):
        refuse_folder(tmp_path / "report")


def test_a_full_disk_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1 << 20))
    monkeypatch.setattr(folders.tempfile, "tempdir", os.fspath(tmp_path))
    with pytest.raises(RunError, match=r"1\.0 MiB are free here, and the demonstration wants 64 MiB"):
        cutover.run(out=tmp_path / "report", listen="", quick=True, keep=False, as_json=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("which", [["--cutover", "--quick", "--out", "report"], []])
def test_a_path_that_no_socket_has_room_for_is_refused_before_anything_starts(
    which: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(folders.tempfile, "tempdir", os.fspath(long))
    done = CliRunner().invoke(command, ["demo", *which])
    assert isinstance(done.exception, RunError)
    assert str(done.exception).endswith("no node can open its admin socket in it; name a shorter folder in TMPDIR.")
    assert list(long.iterdir()) == []


def test_the_longest_path_has_room_for_each_socket(tmp_path: Path) -> None:
    names = [*folders.NODES, *RELAYS, *(member.node for member in MEMBERS)]
    assert max(len(f"/{name}.sock") for name in names) == folders.SOCKET_NAME_MOST
    folder = tmp_path / "y"
    with ExitStack() as stack, pytest.raises(RunError, match="name a shorter one with --by-hand"):
        named_folder(folder / ("x" * 90), stack)


def test_without_the_second_loopback_address_it_says_what_is_missing() -> None:
    # Of TEST-NET-1, which no machine has.
    with pytest.raises(RunError, match=r"cannot listen on 192\.0\.2\.1 .* needs all of 127\.0\.0\.0/8"):
        database.listening("192.0.2.1")


@pytest.mark.parametrize("is_relative", [True, False])
def test_who_took_the_place_of_a_node_is_ended_too(tmp_path: Path, is_relative: bool) -> None:
    """An upgrade starts a process that is no child of the demonstration, and names its file as somebody typed it."""
    folder = tmp_path / "realm"
    folder.mkdir()
    file = "realm/met-1.toml" if is_relative else os.fspath(folder / "met-1.toml")
    words = [sys.executable, "-c", "input()", "run", "-c"]
    with (
        subprocess.Popen([*words, file], stdin=subprocess.PIPE, cwd=tmp_path) as ours,
        subprocess.Popen([*words, "elsewhere/met-1.toml"], stdin=subprocess.PIPE, cwd=tmp_path) as others,
    ):
        reaper = threading.Thread(target=ours.wait)
        reaper.start()
        end_all_of(folder)
        reaper.join(5)
        assert ours.returncode == -signal.SIGTERM
        assert others.poll() is None
        others.terminate()


def test_of_a_named_folder_only_its_own_files_go(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ExitStack() as stack:
        folder = named_folder(tmp_path / "realm", stack)
        (folder / "met-1.toml").touch()
        (folder / "met-1-state").mkdir()
        (folder / "ca").mkdir()
        (folder / "notes.txt").write_text("mine")
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    assert capsys.readouterr().err == f"{folder} stays: notes.txt in it is yours.\n"


def test_a_named_folder_with_nothing_else_goes(tmp_path: Path) -> None:
    with ExitStack() as stack:
        folder = named_folder(tmp_path / "realm", stack)
        (folder / "kent-1.log").touch()
    assert list(tmp_path.iterdir()) == []


def test_a_named_folder_is_new(tmp_path: Path) -> None:
    with ExitStack() as stack:
        with pytest.raises(RunError, match="this is there already; name a new folder with --by-hand"):
            named_folder(tmp_path, stack)
        with pytest.raises(RunError, match="does not exist; create it first"):
            named_folder(tmp_path / "no" / "realm", stack)
    assert tmp_path.exists()


@pytest.mark.parametrize("option", [["--out", "r"], ["--quick"], ["--keep"]])
def test_what_means_nothing_by_hand_is_refused(option: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["demo", "--cutover", "--by-hand", os.fspath(tmp_path / "realm"), *option])
    assert isinstance(done.exception, UsageProblem)
    assert f"{option[0]} means nothing with --by-hand" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [["--by-hand", "r"], ["--out", "r"], ["--listen", "127.0.0.1:1"], ["--quick"]])
def test_what_belongs_to_a_cut_over_is_refused_without_it(options: list[str]) -> None:
    done = CliRunner().invoke(command, ["demo", *options])
    assert isinstance(done.exception, UsageProblem)
    assert f"{options[0]} belongs to --cutover" in str(done.exception)


def test_two_demonstrations_at_once_are_refused() -> None:
    done = CliRunner().invoke(command, ["demo", "--cutover", "--fleet"])
    assert isinstance(done.exception, UsageProblem)
    assert "--fleet is about another demonstration" in str(done.exception)
