"""The unix socket between a running process and the one that replaces it: messages, with descriptors beside them.

A message is a length and a msgpack map. Before it sends or accepts anything, each side checks that the other process
runs as the same user. Every wait has a deadline.

        running process                       new process
    OFFER  -->                                reads its files, opens what is new
                                         <--  READY
    freezes;  STATE, descriptors  -->         restores everything; seals nothing
                                         <--  TAKEN
    GO  -->  exits without a message          starts

Each side may send REFUSAL instead, or close. Before GO the running process can continue as if nothing had happened;
after it has sent GO, it never seals again.
"""

from __future__ import annotations

import array
import os
import select
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct, field

from pcgrelay.errors import RunError
from pcgrelay.handover.node import ServiceHandover

MESSAGE_LIMIT_BYTES = 256 << 20
# The kernel accepts at most 253 descriptors per message (SCM_MAX_FD).
DESCRIPTORS_AT_ONCE = 250
DESCRIPTORS_MOST = 1 << 20
_LENGTH = struct.Struct(">I")
_CREDENTIALS = struct.Struct("3i")


class Offer(Struct, tag="offer", kw_only=True):
    """Description of the running process, by which the new one decides whether it can take over."""

    record: int  # versions of the two records that follow
    handover: int = field(name="estate")
    node: dict[str, str]  # keys of [node] that must be equal
    used_bytes: int
    descriptors: int  # number of open descriptors
    listens: tuple[str, ...] = ()
    imports: tuple[ServiceHandover, ...] = ()


class Ready(Struct, tag="ready", kw_only=True):
    """Everything that can be prepared without the state is ready."""


class State(Struct, tag="state", kw_only=True):
    """The state; the descriptors follow it, in this order:"""

    handover: bytes = field(name="estate")
    record_bytes: int  # length of the record in the memory file
    listens: tuple[str, ...]
    core: int  # number of descriptors that belong to the core's record
    # An older process does not send these; then they are unknown.
    drain_s: float | None = None  # how long the process would drain
    is_kept: bool = False  # supervised by a service manager, which is notified of end and start here:
    notify_socket: str = ""
    has_lock: bool = False  # of the folder of state; its descriptor comes by itself, after all others
    # memory file, standard output, standard error, admin socket, hand-over socket, listeners, core


class Taken(Struct, tag="taken", kw_only=True):
    """Everything was received and restored."""


class Go(Struct, tag="go", kw_only=True):
    """The new process owns the state: the sender will never seal again."""


class Refusal(Struct, tag="refusal", kw_only=True):
    """The hand-over is refused."""

    reason: str


Message = Offer | Ready | State | Taken | Go | Refusal
M = TypeVar("M", bound=Message)
_decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


class ChannelBroken(RunError):
    """The other process sent an unexpected message, did not answer in time, or is gone."""


def handover_path(admin: Path) -> Path:
    """Return the path of the socket at which a running node waits for the process that replaces it."""
    return admin.with_name(admin.name + ".next")


class Channel:
    """One connection. Calls block for at most the seconds that they are given; ChannelBroken: the other side failed."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def cut(self) -> None:
        """Shut the connection down, which wakes a thread that waits on it."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def peer(self) -> tuple[int, int]:
        """Return PID and UID of the other side, as the kernel reports them."""
        data = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(data)
        return pid, uid

    def is_own(self) -> bool:
        """Return whether the other side runs as the same user as this process."""
        return self.peer()[1] == os.geteuid()

    def send(self, message: Message, seconds: float) -> None:
        """Send a message within that many seconds."""
        data = msgspec.msgpack.encode(message)
        self._sock.settimeout(seconds)
        try:
            self._sock.sendall(_LENGTH.pack(len(data)) + data)
        except TimeoutError:
            raise ChannelBroken("the other process takes nothing") from None
        except OSError:
            raise ChannelBroken("the other process is gone") from None

    def receive(self, kind: type[M], seconds: float) -> M:
        """Receive the next message, which must be of that kind. ChannelBroken: it is another, or a refusal."""
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

    def receive_last(self, kind: type[M], seconds: float) -> M:
        """As `receive`, for the message after which its sender does not look back: it counts, or its sending fails.

        If nothing has come in time, the other process can send no more from then on; what it sent until then is read.
        """
        readable = select.poll()  # select() takes no high descriptor
        readable.register(self._sock, select.POLLIN)
        is_late = not readable.poll(seconds * 1000)
        if is_late:
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RD)
        try:
            return self.receive(kind, seconds)
        except ChannelBroken:
            if is_late:
                raise ChannelBroken("the other process does not answer") from None
            raise

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
        """Send descriptors, each block of them within that many seconds."""
        self._sock.settimeout(seconds)
        try:
            for start in range(0, len(descriptors), DESCRIPTORS_AT_ONCE):
                socket.send_fds(self._sock, [b"D"], descriptors[start : start + DESCRIPTORS_AT_ONCE])
        except TimeoutError:
            raise ChannelBroken("the other process takes nothing") from None
        except OSError as error:
            raise ChannelBroken(f"the system passes no descriptors on ({error.strerror})") from None

    def receive_descriptors(self, count: int, seconds: float) -> list[int]:
        """Receive count descriptors, which the caller then owns; on failure those received so far are closed."""
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
