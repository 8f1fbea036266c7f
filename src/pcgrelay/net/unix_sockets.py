"""Listening unix sockets of imports: made beside their path, and put there when they are served.

A path has one socket at a time. A new one is bound to the path with `.next` behind it, gets its rights before it
listens, and then takes the path's place in one step: there is no moment without a socket, and none with other rights.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from pcgrelay.files import reason_of

NEXT = ".next"
BACKLOG = 4_096


class SocketPathError(Exception):
    """There can be no socket at a path; the text says why and how to mend it, without the path and a full stop."""


def open_beside(path: str, mode: int, group: int | None, *, ours: bool) -> socket.socket:
    """Make a socket that listens beside the path. ours: the socket at the path is this node's own.

    Raises SocketPathError.
    """
    if problem := taken(path, ours=ours):
        raise SocketPathError(problem)
    beside = path + NEXT
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_socket(beside)
        sock.bind(beside)
        if group is not None:
            os.chown(beside, -1, group)
        # Nobody can connect before it listens, so the rights are right from the start.
        os.chmod(beside, mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        remove_beside(path)
        raise SocketPathError(_problem(path, error)) from None
    return sock


def put_in_place(path: str) -> None:
    """Let the socket beside the path take its place. Raises OSError."""
    os.rename(path + NEXT, path)


def remove_beside(path: str) -> None:
    """Remove a socket that was not put in place."""
    with suppress(OSError):
        _remove_socket(path + NEXT)


def identity(path: str) -> tuple[int, int] | None:
    """Return what tells the file at a path from another; None: there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def remove(path: str, known: tuple[int, int] | None) -> None:
    """Remove the socket at the path, if it is still the one that is known."""
    if known is not None and identity(path) == known:
        with suppress(OSError):
            os.unlink(path)


def taken(path: str, *, ours: bool) -> str:
    """Return why there can be no socket of this node at the path; empty if there can be one."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return "this is there and is no socket; move it away or choose another path"
    except FileNotFoundError:
        return ""
    except OSError as error:
        return _problem(path, error)
    if not ours and _answers(path):
        return "another program answers on this socket; stop it or choose another path"
    return ""


def is_open_to_strangers(path: str) -> bool:
    """Return whether others than this user and root could put another socket in place of this one."""
    try:
        found = os.stat(Path(path).parent)
    except OSError:
        return False
    strangers = found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) != 0
    return strangers and not found.st_mode & stat.S_ISVTX


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        # A queue that is full is a program's too.
        return probe.connect_ex(path) in (0, errno.EAGAIN)


def _remove_socket(path: str) -> None:
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


def _problem(path: str, error: OSError) -> str:
    folder = Path(path).parent
    if isinstance(error, FileNotFoundError):
        return f"the folder {folder} does not exist; create it first"
    if isinstance(error, PermissionError):
        return f"this user may not make this socket in {folder}, or not give it to that group; allow it or change this"
    return f"this socket cannot be opened ({reason_of(error)}); choose another path"
