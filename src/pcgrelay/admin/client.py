"""The client of the admin interface: one request over the node's unix socket, without an event loop."""

from __future__ import annotations

import http.client
import os
import pwd
import socket
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from pcgrelay.admin.answers import BODY_LIMIT_BYTES
from pcgrelay.admin.status import STATUS_PATH, Status
from pcgrelay.errors import PermissionProblem, StatusProblem
from pcgrelay.files import reason_of

T = TypeVar("T")

ANSWER_LIMIT_BYTES = 64 << 20
TIMEOUT_S = 5.0
# What a page says of itself to a browser.
PAGE_HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy")


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


def ask(
    admin: Path, method: str, path: str, kind: type[T], timeout_s: float = TIMEOUT_S, body: bytes | None = None
) -> T:
    """Send a request and return the answer; a refusal with a reason (409) is an answer too.

    StatusProblem: no answer, or one that cannot be read. PermissionProblem: this user may not ask, or not change.
    """
    if body is not None and len(body) > BODY_LIMIT_BYTES:
        raise StatusProblem(f"{admin}: a request carries at most {BODY_LIMIT_BYTES >> 10} KiB, and this is more.")
    answer = _asked(admin, method, path, timeout_s, (http.client.OK, http.client.CONFLICT), body)
    try:
        return msgspec.json.decode(answer, type=kind)
    except msgspec.DecodeError as error:
        raise StatusProblem(f"{admin}: the answer makes no sense ({error}); is that pcgrelay's admin socket?") from None


def _exchanged(
    admin: Path, method: str, path: str, timeout_s: float, body: bytes | None
) -> tuple[http.client.HTTPResponse, bytes]:
    """Send a request and return what was answered, whatever it is."""
    connection = _UnixConnection(admin, timeout_s)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        answer = response.read(ANSWER_LIMIT_BYTES + 1)
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
    if len(answer) > ANSWER_LIMIT_BYTES:
        raise StatusProblem(f"{admin}: the answer is larger than {ANSWER_LIMIT_BYTES >> 20} MiB; look at its log.")
    return response, answer


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser is to be shown."""

    code: int
    kind: str
    body: bytes
    headers: dict[str, str]


def read_page(admin: Path, path: str, timeout_s: float = TIMEOUT_S) -> Page:
    """Return a page of the node as it is. StatusProblem: no answer. PermissionProblem: this user may not ask."""
    response, body = _exchanged(admin, "GET", path, timeout_s, None)
    headers = {name: value for name in PAGE_HEADERS if (value := response.headers.get(name)) is not None}
    return Page(response.status, response.headers.get("Content-Type", "text/plain"), body, headers)


def _asked(
    admin: Path, method: str, path: str, timeout_s: float, good: Collection[int], body: bytes | None = None
) -> bytes:
    response, answer = _exchanged(admin, method, path, timeout_s, body)
    if response.status == http.client.FORBIDDEN:
        raise PermissionProblem(f"{admin}: only the user that the node runs as may change it{_owner(admin)}.")
    if response.status not in good:
        raise StatusProblem(f"{admin}: the node answered {response.status} {response.reason}; look at its log.")
    return answer
