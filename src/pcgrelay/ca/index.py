"""The index of a CA: every certificate that it has issued, and the number of its last revocation list."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded, unreadable, write_new, write_replacing

INDEX_LIMIT_BYTES = 64 << 20


class Issued(msgspec.Struct, kw_only=True):
    """One certificate that this CA has signed."""

    serial: str  # hexadecimal
    organisation: str
    node: str
    not_before: datetime
    not_after: datetime
    revoked: datetime | None = None


class Index(msgspec.Struct, kw_only=True):
    """The contents of index.json."""

    version: int = 1
    realm: str
    crl_number: int = 0
    issued: list[Issued] = []


def read_index(path: Path) -> Index:
    """Read an index. ConfigError: it is damaged, or of a newer pcgrelay."""
    data = read_bounded(path, "CA's index", INDEX_LIMIT_BYTES)
    try:
        index = msgspec.json.decode(data, type=Index)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: the CA's index is damaged ({error}); restore it from a copy.") from None
    if index.version != 1:
        raise ConfigError(f"{path}: a newer pcgrelay wrote this index; use that version.")
    return index


def write_new_index(path: Path, realm: str) -> None:
    """Write the index of a new CA. RunError: there is one already."""
    write_new(path, _index_json(Index(realm=realm)))


@contextmanager
def locked_index(path: Path) -> Iterator[Index]:
    """Lock the index against other processes, and write it back at the end; after an error it is unchanged."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise unreadable(path.parent, "CA's folder", error) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        index = read_index(path)
        yield index
        write_replacing(path, _index_json(index))
    finally:
        os.close(folder)


def _index_json(index: Index) -> bytes:
    return msgspec.json.format(msgspec.json.encode(index), indent=2) + b"\n"
