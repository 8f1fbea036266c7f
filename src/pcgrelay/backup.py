"""A back-up of a node: one archive of its configuration, the files that this names, and the folder of state.

Keys are left out unless somebody asks for them, so that a back-up may lie where keys may not. The audit log is left out
too: it is large, and `pcgrelay audit export` copies it in a form that others can verify. What `pcgrelay drill restore`
does with the archive says whether a node could be started from it.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import Struct

from pcgrelay import __version__
from pcgrelay.audit.history import HISTORY
from pcgrelay.audit.restarting import OLD
from pcgrelay.audit.tile_sync import SYNCED
from pcgrelay.config import Config
from pcgrelay.errors import ConfigError, PcgrelayError, RunError
from pcgrelay.files import PRIVATE_MODE, reason_of, unreadable
from pcgrelay.state.folder import LOCK

MANIFEST = "pcgrelay-backup.json"
AUDIT = "audit"
KEY_PREFIX = "key."  # of the audit log's own keys, below AUDIT
LARGE = ("log", "tile", SYNCED, HISTORY)  # below AUDIT
FILES_MOST = 10_000
FILE_MOST_BYTES = 64 << 20


class Manifest(Struct, frozen=True, kw_only=True):
    """What an archive says of itself."""

    version: str
    node: str
    made: str
    keys: bool


@dataclass(frozen=True, slots=True)
class Made:
    """A back-up that was written."""

    files: int
    size_bytes: int


def make_backup(config: Config, target: Path, made: str, *, keys: bool = False, ca: Path | None = None) -> Made:
    """Write the back-up of the node with that configuration. made: the time. ca: folder of a CA to go with it.

    RunError: the file exists, or cannot be written. ConfigError, PermissionProblem: something cannot be read.
    """
    found = list(dict.fromkeys(_files(config, ca, keys=keys)))
    if len(found) > FILES_MOST:
        raise ConfigError(f"{config.node.state}: there are more than {FILES_MOST:,} files; is that a folder of state?")
    manifest = Manifest(version=__version__, node=config.node.id.dotted, made=made, keys=keys)
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, PRIVATE_MODE)
    except FileExistsError:
        raise RunError(f"{target}: it is there already, and a back-up replaces nothing; name another file.") from None
    except OSError as error:
        raise RunError(f"{target}: it cannot be written ({reason_of(error)}).") from None
    try:
        with os.fdopen(descriptor, "wb") as sink:
            with tarfile.open(fileobj=sink, mode="w:gz") as tar:
                _add(tar, MANIFEST, msgspec.json.encode(manifest), PRIVATE_MODE)
                for path in found:
                    _add_file(tar, path)
            sink.flush()
            os.fsync(sink.fileno())
            size_bytes = sink.tell()
    except (PcgrelayError, OSError) as error:
        with suppress(OSError):
            target.unlink()
        if isinstance(error, OSError):
            raise RunError(f"{target}: it cannot be written ({reason_of(error)}).") from None
        raise
    return Made(len(found), size_bytes)


def _files(config: Config, ca: Path | None, *, keys: bool) -> Iterator[Path]:
    identity, approvals = config.identity, config.approvals
    named = [config.path, identity.certificate, identity.trust, identity.crl, config.node.inventory]
    named += [identity.key] if keys else []
    if config.fleet is not None:
        named += [config.fleet.certificate, config.fleet.trust]
        named += [config.fleet.key, config.fleet.password] if keys else []
    named += [approvals.signers, approvals.revoked] if approvals else []
    yield from (path.absolute() for path in named if path is not None)
    if config.node.state is not None:
        yield from _below(config.node.state.absolute(), keys=keys)
    if ca is not None:
        yield from _of_ca(ca.absolute(), keys=keys)


def _below(state: Path, *, keys: bool) -> Iterator[Path]:
    """Yield the files of state but drafts, the lock, and what is left out of the audit log."""
    for path in sorted(state.rglob("*")):
        parts = path.relative_to(state).parts
        if any(part.startswith(".") for part in parts) or parts == (LOCK,):
            continue
        if parts[0] == AUDIT and len(parts) > 1:
            is_key = parts[1].startswith(KEY_PREFIX)
            # Logs that were begun again stay beside the new one, each with its keys.
            if parts[1] in LARGE or parts[1].startswith(OLD) or (is_key and not keys):
                continue
        if path.is_file() and not path.is_symlink():
            yield path


def _of_ca(ca: Path, *, keys: bool) -> Iterator[Path]:
    if not (ca / "index.json").is_file():
        raise ConfigError(f"{ca}: there is no CA in this folder (index.json); name the folder of pcgrelay ca init.")
    for path in sorted(ca.iterdir()):
        if path.is_file() and not path.name.startswith(".") and (keys or path.suffix != ".key"):
            yield path


def _add_file(tar: tarfile.TarFile, path: Path) -> None:
    """Add a file as it is now: each is replaced in one step, so it is whole."""
    try:
        with open(path, "rb") as source:
            data = source.read(FILE_MOST_BYTES + 1)
            mode = os.fstat(source.fileno()).st_mode & 0o777
    except OSError as error:
        raise unreadable(path, "file", error) from None
    if len(data) > FILE_MOST_BYTES:
        raise ConfigError(f"{path}: it is larger than {FILE_MOST_BYTES >> 20} MiB, which no file of a node is.")
    _add(tar, str(path.relative_to("/")), data, mode)


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), mode
    tar.addfile(member, io.BytesIO(data))
