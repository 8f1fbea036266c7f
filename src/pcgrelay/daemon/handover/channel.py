"""The unix socket between a process and the one that takes its place: messages, and descriptors beside them.

A message is a length and msgpack with names. Both sides look at whose process the other one is before they say or
believe anything: it has to be of the same user. Every wait has a deadline.

        the process that runs                 the process that comes
    OFFER  -->                                reads its files, opens what is new
                                         <--  READY
    freezes;  STATE, descriptors  -->         takes it all; seals nothing
                                         <--  TAKEN
    GO  -->  leaves without a word            goes on

Each side may say REFUSAL instead, or just go. Until GO is said the first process can go on as if nothing had been;
once it is said, it never seals again.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from pcgrelay.errors import RunError
from pcgrelay.handover.node import ServiceHandover

MESSAGE_LIMIT_BYTES = 256 << 20
# The kernel takes at most 253 with one message (SCM_MAX_FD).
DESCRIPTORS_AT_ONCE = 250
DESCRIPTORS_MOST = 1 << 20
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")


class Offer(Struct, tag="offer", kw_only=True):
    """What runs here, so that the other one can tell whether it can take that over."""

    record: int  # versions of the two records that follow
    handover: int = field(name="estate")
    node: dict[str, str]  # keys of [node] that must be the same
    used_bytes: int
    descriptors: int  # so many are open
    listens: tuple[str, ...] = ()
    imports: tuple[ServiceHandover, ...] = ()


class Ready(Struct, tag="ready", kw_only=True):
    """All that is available without the state is there."""


class State(Struct, tag="state", kw_only=True):
    """The state; behind it come the descriptors, in this order."""

    handover: bytes = field(name="estate")
    record_bytes: int  # length of what is in the memory file
    listens: tuple[str, ...]
    core: int  # how many belong to the core's record
    # What a process of before does not say is unknown.
    drain_s: float | None = None  # how long it would drain
    is_kept: bool = False  # by a service manager, which is told of its end and start here:
    notify_socket: str = ""
    # memory file, standard output, standard error, admin socket, this socket's door, listens, core


class Taken(Struct, tag="taken", kw_only=True):
    """It is all there."""


class Go(Struct, tag="go", kw_only=True):
    """It is yours: this process will never seal again."""


class Refusal(Struct, tag="refusal", kw_only=True):
    """It is not to be."""

    reason: str


Message = Offer | Ready | State | Taken | Go | Refusal
M = TypeVar("M", bound=Message)
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class ChannelBroken(RunError):
    """The other process said something else than it should, nothing in time, or is gone."""


def handover_path(admin: Path) -> Path:
    """Where a running node waits for the process that takes its place."""
    return admin.with_name(admin.name + ".next")


class Channel:
    """One connection. All calls block, for at most as long as they are told."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def close(self) -> None:
        self._sock.close()

    def cut(self) -> None:
        """Wake whoever waits on it."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def peer(self) -> tuple[int, int]:
        """Process and user of the other side, as the kernel knows them."""
        data = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(data)
        return pid, uid

    def is_own(self) -> bool:
        """Whether the other side is of the user that this process is of."""
        return self.peer()[1] == os.geteuid()

    def send(self, message: Message, seconds: float) -> None:
        data = msgspec.msgpack.encode(message)
        self._sock.settimeout(seconds)
        try:
            self._sock.sendall(_LENGTH.pack(len(data)) + data)
        except TimeoutError:
            raise ChannelBroken("the other process takes nothing") from None
        except OSError:
            raise ChannelBroken("the other process is gone") from None

    def receive(self, kind: type[M], seconds: float) -> M:
        """The next message, which has to be of that kind; a refusal is raised with its reason."""
        self._sock.settimeout(seconds)
        (length,) = _LENGTH.unpack(self._exactly(_LENGTH.size))
        if length > MESSAGE_LIMIT_BYTES:
            raise ChannelBroken("the other process does not speak this language")
        try:
            message = _decoder.decode(self._exactly(length))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ChannelBroken("the other process does not speak this language") from None
        if isinstance(message, Refusal):
            raise ChannelBroken(message.reason[:500])
        if not isinstance(message, kind):
            raise ChannelBroken("the other process says things in another order")
        return message

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        try:
            while len(data) < count:
                part = self._sock.recv(min(count - len(data), 1 << 20))
                if not part:
                    raise ChannelBroken("the other process is gone")
                data += part
        except TimeoutError:
            raise ChannelBroken("the other process does not answer") from None
        except OSError:
            raise ChannelBroken("the other process is gone") from None
        return bytes(data)

    def send_descriptors(self, descriptors: Sequence[int], seconds: float) -> None:
        self._sock.settimeout(seconds)
        try:
            for start in range(0, len(descriptors), DESCRIPTORS_AT_ONCE):
                socket.send_fds(self._sock, [b"D"], descriptors[start : start + DESCRIPTORS_AT_ONCE])
        except TimeoutError:
            raise ChannelBroken("the other process takes nothing") from None
        except OSError as error:
            raise ChannelBroken(f"the system passes no descriptors on ({error.strerror})") from None

    def receive_descriptors(self, count: int, seconds: float) -> list[int]:
        """That many descriptors; the caller owns them. What came before a failure is closed."""
        self._sock.settimeout(seconds)
        found: list[int] = []
        try:
            while len(found) < count:
                found += self._some_descriptors(min(count - len(found), DESCRIPTORS_AT_ONCE))
        except BaseException:
            for descriptor in found:
                os.close(descriptor)
            raise
        return found

    def _some_descriptors(self, count: int) -> list[int]:
        room = socket.CMSG_SPACE(count * array.array("i").itemsize)
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise ChannelBroken("the other process does not answer") from None
        except OSError:
            raise ChannelBroken("the other process is gone") from None
        descriptors = array.array("i")
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
        if data != b"D" or flags & socket.MSG_CTRUNC or len(descriptors) != count:
            for descriptor in descriptors:
                os.close(descriptor)
            raise ChannelBroken("not all descriptors came; is the limit of open files too low?")
        return list(descriptors)
