"""Files that are read up to a limit and written atomically.

Every problem with a file becomes one sentence. After a write the old file or the new one is there, never a part of one,
and a private file is not readable by others at any moment.
"""

from __future__ import annotations

import codecs
import errno
import grp
import os
import pwd
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pcgrelay.errors import ConfigError, PcgrelayError, PermissionProblem, RunError

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644
LENT_MODE = 0o640
# Of the packages: where the files of a machine's nodes are, and who runs these nodes.
SYSTEM_FOLDER = Path("/etc/pcgrelay")
UNIT_USER = UNIT_GROUP = "pcgrelay"


def read_bounded(
    path: Path, what: str, limit_bytes: int, refuse: Callable[[os.stat_result], None] = lambda status: None
) -> bytes:
    """Read a whole file of at most limit_bytes.

    what names the file's role in messages: "configuration", "private key". refuse raises if something is wrong with the
    opened file; a check by name could see another one. ConfigError: the file is missing, not a plain file, empty or too
    large. PermissionProblem: it may not be read.
    """
    try:
        # Without O_NONBLOCK, opening a pipe in the file's place would block for ever.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as source:
            refuse(os.fstat(source.fileno()))
            # On a non-blocking descriptor "nothing yet" is None, which the type of read() leaves out.
            data: bytes | None = source.read(limit_bytes + 1)
    except OSError as error:
        raise unreadable(path, what, error) from None
    if data is None:
        raise ConfigError(f"{path}: the {what} is no plain file; name a plain file there.")
    if len(data) > limit_bytes:
        raise ConfigError(f"{path}: the {what} is larger than {limit_bytes // 1024} KiB; name the right file.")
    if not data:
        raise ConfigError(f"{path}: the {what} is empty; put its contents there or name another file.")
    return data


def open_plain(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a file for reading as bytes. A pipe in its place reads as an empty file, and blocks nobody.

    OSError: also for a device, which may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.ENODEV, "it is a device")
        return os.fdopen(descriptor, "rb", buffering)
    except OSError:
        os.close(descriptor)  # a folder is no file to Python, which leaves it open
        raise


def read_text(path: Path, what: str, limit_bytes: int) -> str:
    """Read a whole UTF-8 text file. ConfigError: as read_bounded, or the text is not UTF-8 (with its first bad line).

    A leading byte order mark, which some editors write, is removed.
    """
    data = read_bounded(path, what, limit_bytes)
    refuse_utf16(path, what, data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: the {what} is not UTF-8 text; save it as UTF-8.") from None


def refuse_utf16(path: Path, what: str, data: bytes) -> None:
    """Raise ConfigError for UTF-16 text, by its byte order mark; otherwise the complaint would be about garbage."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigError(f"{path}: the {what} is UTF-16 text; save it as UTF-8.")


def unreadable(path: Path, what: str, error: OSError) -> PcgrelayError:
    """Return the error for a file that could not be opened or read."""
    if isinstance(error, FileNotFoundError):
        return ConfigError(f"{path}: there is no {what} at this path; create it or name the right path.")
    if isinstance(error, PermissionError):
        return PermissionProblem(f"{path}: this user may not read the {what}; give the user that runs pcgrelay access.")
    if isinstance(error, IsADirectoryError):
        return ConfigError(f"{path}: the {what} is a folder; name a file.")
    return ConfigError(f"{path}: the {what} cannot be read ({reason_of(error)}); correct that or name another file.")


def write_new(path: Path, data: bytes, mode: int = PUBLIC_MODE) -> None:
    """Create a file with all of data. RunError: it exists, even if it appeared only just now."""
    _write(path, data, mode, replace=False)


def write_replacing(path: Path, data: bytes, mode: int = PUBLIC_MODE) -> None:
    """Replace a file in one step; readers see either the old or the new one."""
    _write(path, data, mode, replace=True)


def put_in_place(path: Path, draft: Path) -> None:
    """Rename a finished file over another of the same folder, in one step that survives a power failure."""
    try:
        os.replace(draft, path)
        sync_folder(path.parent)
    except OSError as error:
        raise _unwritable(path, error) from None


def keep_old(path: Path, kept: Path) -> None:
    """Give a file a second name in its folder, in place of what had that name; it is what stays when it is replaced."""
    draft = kept.with_name(f".{kept.name}.{secrets.token_hex(4)}.tmp")
    try:
        os.link(path, draft)
        os.replace(draft, kept)
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(draft)
        raise _unwritable(kept, error) from None


def own_like(path: Path, model: Path) -> None:
    """Give a file the owner, group and mode of another, never more than these at any moment."""
    try:
        status = os.stat(model)
        os.chown(path, status.st_uid, status.st_gid)
        os.chmod(path, status.st_mode & 0o777)
    except OSError as error:
        raise _unwritable(path, error) from None


def lend_to_units(path: Path) -> None:
    """Let the group of the machine's nodes read a private file of theirs, if root made it; root stays its owner."""
    if os.geteuid() != 0 or SYSTEM_FOLDER not in path.resolve().parents:
        return
    try:
        group = grp.getgrnam(UNIT_GROUP)
    except KeyError:
        return
    try:
        # In this order no other group can read it at any moment.
        os.chown(path, -1, group.gr_gid, follow_symlinks=False)
        os.chmod(path, LENT_MODE)
    except OSError as error:
        raise _unwritable(path, error) from None


def is_hidden_from_units(path: Path) -> bool:
    """Whether root, who may read all, looks at a file of the machine's nodes that their user may not read."""
    if os.geteuid() != 0 or SYSTEM_FOLDER not in path.resolve().parents:
        return False
    try:
        user, status = pwd.getpwnam(UNIT_USER), path.stat()
    except (KeyError, OSError):
        return False
    bit = stat.S_IROTH
    if status.st_gid == user.pw_gid:
        bit = stat.S_IRGRP
    if status.st_uid == user.pw_uid:
        bit = stat.S_IRUSR
    return not status.st_mode & bit


def make_folder(path: Path, mode: int) -> None:
    """Create a folder and its missing parents."""
    try:
        path.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def refuse_present(path: Path) -> None:
    """Raise RunError if something has this name, be it a broken link: it is never overwritten."""
    if os.path.lexists(path):
        raise RunError(f"{path}: this file is there already and is never overwritten; move it away first.")


def reason_of(error: OSError) -> str:
    """Return the system's text for an error, without number and path."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def _write(path: Path, data: bytes, mode: int, *, replace: bool) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_MODE)
        try:
            with os.fdopen(descriptor, "wb") as sink:
                sink.write(data)
                sink.flush()
                os.fchmod(sink.fileno(), mode)
                os.fsync(sink.fileno())
            if replace:
                os.replace(draft, path)
            else:
                # A hard link fails if the name exists, which a rename does not.
                os.link(draft, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(draft)
        sync_folder(path.parent)
    except FileExistsError:
        raise RunError(f"{path}: this file is there already and is never overwritten; move it away first.") from None
    except OSError as error:
        raise _unwritable(path, error) from None


def sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> PcgrelayError:
    if isinstance(error, PermissionError):
        return PermissionProblem(f"{path}: this user may not write here; choose another folder or change its owner.")
    if isinstance(error, FileNotFoundError):
        return RunError(f"{path}: the folder {path.parent} does not exist; create it first.")
    return RunError(f"{path}: this cannot be written ({reason_of(error)}); correct that and try again.")
