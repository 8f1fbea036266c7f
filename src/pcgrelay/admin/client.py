"""The client of the admin interface: one request over the node's unix socket, without an event loop."""

from __future__ import annotations

import http.client
import os
import pwd
import socket
from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

import msgspec

from pcgrelay.admin.status import STATUS_PATH, Status
from pcgrelay.errors import PermissionProblem, StatusProblem
from pcgrelay.files import reason_of

T = TypeVar("T")

ANSWER_LIMIT_BYTES = 64 << 20
TIMEOUT_S = 5.0


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path
        self._timeout_s = timeout_s

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_s)
        self.sock.connect(os.fspath(self._path))


def _owner(admin: Path) -> str:
    """Return a phrase that names the owner of the socket, if it can be determined."""
    try:
        return f" ({pwd.getpwuid(admin.stat().st_uid).pw_name})"
    except (OSError, KeyError):
        return ""


def read_status(admin: Path, timeout_s: float = TIMEOUT_S) -> Status:
    """Return the status of the node at that socket. StatusProblem: no answer, or one that is not a status.

    PermissionProblem: this user may not ask.
    """
    body = _asked(admin, "GET", STATUS_PATH, timeout_s, (http.client.OK,))
    try:
        return msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError as error:
        raise StatusProblem(f"{admin}: the answer is no status ({error}); is that pcgrelay's admin socket?") from None


def ask(admin: Path, method: str, path: str, kind: type[T], timeout_s: float = TIMEOUT_S) -> T:
    """Send a request and return the answer; a refusal with a reason (409) is an answer too.

    StatusProblem: no answer, or one that cannot be read. PermissionProblem: this user may not ask, or not change.
    """
    body = _asked(admin, method, path, timeout_s, (http.client.OK, http.client.CONFLICT))
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise StatusProblem(f"{admin}: the answer makes no sense ({error}); is that pcgrelay's admin socket?") from None


def _asked(admin: Path, method: str, path: str, timeout_s: float, good: Collection[int]) -> bytes:
    connection = _UnixConnection(admin, timeout_s)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        body = response.read(ANSWER_LIMIT_BYTES + 1)
    except PermissionError:
        raise PermissionProblem(
            f"{admin}: only the user that the node runs as may ask it{_owner(admin)}; "
            "run this as that user or as root, or name a group in [node] admin_group."
        ) from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise StatusProblem(f"{admin}: no node listens here; start it with: pcgrelay run -c FILE") from None
    except TimeoutError:
        raise StatusProblem(f"{admin}: the node did not answer within {timeout_s:g} s; look at its log.") from None
    except (OSError, http.client.HTTPException) as error:
        words = reason_of(error) if isinstance(error, OSError) else type(error).__name__
        raise StatusProblem(f"{admin}: the node did not answer ({words}); look at its log.") from None
    finally:
        connection.close()
    if response.status == http.client.FORBIDDEN:
        raise PermissionProblem(f"{admin}: only the user that the node runs as may change it{_owner(admin)}.")
    if response.status not in good:
        raise StatusProblem(f"{admin}: the node answered {response.status} {response.reason}; look at its log.")
    if len(body) > ANSWER_LIMIT_BYTES:
        raise StatusProblem(f"{admin}: the answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB; look at its log.")
    return body
