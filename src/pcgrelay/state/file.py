"""A small file of state, written whole: the newest, and the one before it.

Each carries its kind, its version and a digest of what is in it. One that is torn, foreign or of a newer version is
passed over for the one before; only if none can be read the state is lost, and that is never guessed.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.files import PRIVATE_MODE, read_bounded, write_replacing

LIMIT_BYTES = 16 << 20
BEFORE = ".before"

T = TypeVar("T", bound=Struct)


class Found(Enum):
    """What there was to read."""

    NOTHING = auto()  # it was never written
    NEWEST = auto()
    BEFORE = auto()  # the newest cannot be read, and the one before it can
    LOST = auto()


class _Envelope(Struct, frozen=True, kw_only=True):
    kind: str
    version: int
    sha256: str
    body: msgspec.Raw


def is_whole(data: bytes) -> bool:
    """Whether these are the bytes of a file of state, of whatever kind, as they were written."""
    try:
        envelope = msgspec.json.decode(data, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return hashlib.sha256(bytes(envelope.body)).hexdigest() == envelope.sha256


def _may_be_there(path: Path) -> bool:
    """Whether there is something, or nobody can tell: what cannot be looked at is not taken for what never was."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


class StateFile(Generic[T]):
    """One file of state of one type."""

    def __init__(self, path: Path, kind: str, version: int, type_: type[T], *, keeps_before: bool = True) -> None:
        """keeps_before: the one before stays beside it. One that is written once needs none."""
        self.path = path
        self._keeps_before = keeps_before
        self._before = path.with_name(path.name + BEFORE)
        self._kind = kind
        self._version = version
        self._type = type_

    def read(self) -> tuple[Found, T | None]:
        """Return the newest that can be read."""
        if not _may_be_there(self.path) and not _may_be_there(self._before):
            return Found.NOTHING, None
        for path, found in ((self.path, Found.NEWEST), (self._before, Found.BEFORE)):
            value = self._read(path)
            if value is not None:
                return found, value
        return Found.LOST, None

    def write(self, value: T) -> None:
        """Keep it, and the one before it; PcgrelayError if it cannot be written, and then the old one holds."""
        body = msgspec.json.encode(value)
        whole = _Envelope(
            kind=self._kind, version=self._version, sha256=hashlib.sha256(body).hexdigest(), body=msgspec.Raw(body)
        )
        # The old one has both names for a moment, so there is no moment without a whole file.
        if self._keeps_before and self._read(self.path) is not None:
            draft = self._before.with_name(f".{self._before.name}.tmp")
            with suppress(OSError):
                draft.unlink(missing_ok=True)
                os.link(self.path, draft)
                os.replace(draft, self._before)
        write_replacing(self.path, msgspec.json.encode(whole) + b"\n", PRIVATE_MODE)

    def _read(self, path: Path) -> T | None:
        try:
            envelope = msgspec.json.decode(read_bounded(path, "state", LIMIT_BYTES), type=_Envelope)
            body = bytes(envelope.body)
            if (envelope.kind, envelope.version) != (self._kind, self._version):
                return None
            if hashlib.sha256(body).hexdigest() != envelope.sha256:
                return None
            return msgspec.json.decode(body, type=self._type)
        except (PcgrelayError, msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None
