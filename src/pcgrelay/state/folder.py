"""The folder that a node keeps its state in. One node has it at a time, by a lock that ends with the process.

The lock is flock(2) on the file `lock`, whose text is the pid of who has it. It belongs to the open file, not to the
process: in a hand-over the descriptor goes to the other process, and the folder is never without an owner meanwhile.
Nobody else writes below the folder; commands ask the node.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError
from pcgrelay.files import reason_of

LOCK = "lock"
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_PID_LIMIT_BYTES = 32


class StateFolder:
    """A folder that this process has."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """descriptor: the open lock file, with the lock."""
        self.path = path
        self.descriptor = descriptor
        self._claim()

    @classmethod
    def take(cls, path: Path) -> StateFolder:
        """Have the folder; refuses one that is not fit for it, and one that another process has, with its pid."""
        if (problem := unfit(path)) is not None:
            raise problem
        lock = path / LOCK
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise PermissionProblem(f"{lock}: this user may not make this file ({reason_of(error)}).") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = _pid(descriptor)
            os.close(descriptor)
            raise RunError(
                f"{path}: another node has this state folder{f' (pid {owner})' if owner else ''}; "
                "stop it, or name another folder in [node] state."
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise RunError(f"{lock}: it cannot be locked ({reason_of(error)}); choose a local disk.") from None
        return cls(path, descriptor)

    @classmethod
    def adopt(cls, path: Path, descriptor: int) -> StateFolder | None:
        """Have the folder by a lock that another process passed on; nothing if it is that of another folder."""
        try:
            here, there = os.stat(path / LOCK), os.fstat(descriptor)
        except OSError:
            return None
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino):
            return None
        return cls(path, descriptor)

    def claim_again(self) -> None:
        """Write the pid of this process, after another one had the folder or was to have it."""
        self._claim()

    def close(self) -> None:
        """Let go of it; may be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _claim(self) -> None:
        # Only words for a person: what holds is the lock.
        try:
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass


def unfit(path: Path) -> PcgrelayError | None:
    """Return what speaks against a folder for state, in a sentence with its remedy; nothing is changed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ConfigError(f"{path}: there is no such folder; make it: install -d -m 0700 {path}")
    except OSError as error:
        return PermissionProblem(f"{path}: this user may not look there ({reason_of(error)}).")
    if not stat.S_ISDIR(found.st_mode):
        return ConfigError(f"{path}: this is no folder; name one that only this node uses.")
    if found.st_mode & OTHERS_WRITE:
        return PermissionProblem(f"{path}: others may write in this folder; run: chmod go-w {path}")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return PermissionProblem(f"{path}: this user may not write here; give it to the user that runs pcgrelay.")
    return None


def _pid(descriptor: int) -> str:
    try:
        text = os.pread(descriptor, _PID_LIMIT_BYTES, 0).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return text if text.isdigit() else ""
