"""Listening unix sockets that only their owner may open, or additionally a named group."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

from pcgrelay.errors import PcgrelayError, PermissionProblem, RunError
from pcgrelay.files import reason_of


def private_socket(path: Path, what: str) -> socket.socket:
    """Bind a socket with mode 0600 and without a backlog yet; what names it in messages.

    RunError: another process answers on it, or its folder does not exist. PermissionProblem: this user may not create
    it.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        _remove_stale(path, what)
        # The mode must be right from the start; no other thread of the process creates files at this time.
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


def let_in(path: Path, group: int | None) -> None:
    """Allow the members of a group to open the socket too, or with None its owner only."""
    try:
        if group is not None:
            os.chown(path, -1, group)
        os.chmod(path, 0o600 if group is None else 0o660)
    except PermissionError:
        raise PermissionProblem(
            f"{path}: this user may not give the admin socket to that group, in which it is not itself; add it to the "
            "group or leave admin_group out."
        ) from None
    except OSError as error:
        raise _problem(path, "admin socket", error) from None


def _remove_stale(path: Path, what: str) -> None:
    """Remove the socket of a dead process. RunError: another process answers on it."""
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
