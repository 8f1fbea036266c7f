"""The lock of the state folder in a hand-over: it is passed on, or taken anew where it cannot be."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pcgrelay.daemon.handover.channel import Channel
from pcgrelay.daemon.handover.new_process import state_folder
from pcgrelay.errors import RunError
from pcgrelay.state.folder import StateFolder


@pytest.fixture
def channels() -> Iterator[tuple[Channel, Channel]]:
    near, far = socket.socketpair()
    one, other = Channel(near), Channel(far)
    yield one, other
    one.close()
    other.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir(mode=0o700)
    return made


def test_the_lock_is_passed_on(channels: tuple[Channel, Channel], folder: Path) -> None:
    leaving, coming = channels
    old = StateFolder.take(folder)
    leaving.send_descriptors([old.descriptor], 2)
    new = state_folder(folder, coming, has_lock=True)
    assert new is not None
    # The process that leaves ends, and nobody can come between.
    old.close()
    with pytest.raises(RunError, match="another node has this state folder"):
        StateFolder.take(folder)
    new.close()


def test_another_folder_has_a_lock_of_its_own(channels: tuple[Channel, Channel], folder: Path, tmp_path: Path) -> None:
    leaving, coming = channels
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    old = StateFolder.take(other)
    leaving.send_descriptors([old.descriptor], 2)
    new = state_folder(folder, coming, has_lock=True)
    assert new is not None
    assert new.path == folder
    old.close()
    # What was passed on and is not needed is let go.
    StateFolder.take(other).close()
    new.close()


def test_a_configuration_without_a_folder_needs_no_lock(channels: tuple[Channel, Channel], folder: Path) -> None:
    leaving, coming = channels
    old = StateFolder.take(folder)
    leaving.send_descriptors([old.descriptor], 2)
    assert state_folder(None, coming, has_lock=True) is None
    old.close()
    StateFolder.take(folder).close()


def test_a_process_of_before_has_no_lock(channels: tuple[Channel, Channel], folder: Path) -> None:
    new = state_folder(folder, channels[1], has_lock=False)
    assert new is not None
    assert (folder / "lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(RunError):
        state_folder(folder, channels[1], has_lock=False)
    new.close()
