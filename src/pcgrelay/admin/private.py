"""Listening unix sockets that only their owner may open."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from pcgrelay.errors import PcgrelayError, PermissionProblem, RunError
from pcgrelay.files import reason_of


def private_socket(path: Path, what: str) -> socket.socket:
    """Bind it, with no backlog yet; refuses one that another process answers on, and a folder that is not there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path, what)
        # The mode is right from the first moment; the process has no other thread that makes files now.
        mask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(mask)
    except OSError as error:
        sock.close()
        raise _problem(path, what, error) from None
    except BaseException:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path, what: str) -> None:
    """Remove the socket that a dead process left; refuse a living one."""
    if not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(str(path))
    if result in (0, errno.EAGAIN):
        raise RunError(f"{path}: another process answers on this {what}; stop it or name another.")
    if result == errno.ECONNREFUSED:
        path.unlink()


def _problem(path: Path, what: str, error: OSError) -> PcgrelayError:
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path}: the folder of the {what} does not exist; create it first.")
    if isinstance(error, PermissionError):
        return PermissionProblem(f"{path}: this user may not create the {what} here; name another path.")
    return RunError(f"{path}: the {what} cannot be opened ({reason_of(error)}).")
