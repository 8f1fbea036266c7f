"""The state folder: one node has it at a time, by a lock that a hand-over passes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError
from pcgrelay.state.folder import LOCK, StateFolder, unfit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def test_a_second_node_is_refused_with_the_pid_of_the_first(folder: Path) -> None:
    first = StateFolder.take(folder)
    with pytest.raises(RunError) as refused:
        StateFolder.take(folder)
    assert str(refused.value) == (
        f"{folder}: another node has this state folder (pid {os.getpid()}); "
        "stop it, or name another folder in [node] state."
    )
    first.close()
    first.close()
    StateFolder.take(folder).close()


def test_the_lock_ends_with_the_process_that_has_it(folder: Path) -> None:
    program = "import sys; from pcgrelay.state.folder import StateFolder as S; from pathlib import Path; "
    program += "S.take(Path(sys.argv[1])); import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    done = subprocess.run([sys.executable, "-c", program, str(folder)], check=False)
    assert done.returncode == -9
    assert int((folder / LOCK).read_text()) != os.getpid()
    StateFolder.take(folder).close()


def test_a_lock_that_is_passed_on_has_no_moment_without_an_owner(folder: Path) -> None:
    first = StateFolder.take(folder)
    passed = os.dup(first.descriptor)  # what the other process has of it
    second = StateFolder.adopt(folder, passed)
    assert second is not None
    first.close()
    with pytest.raises(RunError):
        StateFolder.take(folder)
    second.close()
    StateFolder.take(folder).close()


def test_a_lock_of_another_folder_is_not_taken_for_this_one(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    first = StateFolder.take(other)
    assert StateFolder.adopt(folder, first.descriptor) is None
    StateFolder.take(folder).close()
    assert StateFolder.adopt(folder, first.descriptor) is None
    first.close()


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda path: None, ConfigError, "there is no such folder; make it: install -d -m 0700"),
        (lambda path: path.write_text("x"), ConfigError, "this is no folder"),
        (lambda path: (path.mkdir(), path.chmod(0o770)), PermissionProblem, "others may write in this folder"),
        (lambda path: (path.mkdir(), path.chmod(0o702)), PermissionProblem, "others may write in this folder"),
    ],
)
def test_a_folder_that_is_not_fit_is_refused(tmp_path: Path, make, kind: type[PcgrelayError], words: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "state"
    make(path)
    problem = unfit(path)
    assert isinstance(problem, kind)
    assert words in str(problem)
    with pytest.raises(kind):
        StateFolder.take(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_of_somebody_else_is_refused(folder: Path) -> None:
    folder.chmod(0o500)
    assert isinstance(unfit(folder), PermissionProblem)


def test_a_lock_that_is_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (folder / LOCK).symlink_to(victim)
    with pytest.raises(PermissionProblem):
        StateFolder.take(folder)
    assert victim.read_text() == "precious"
