"""The folder of all files but the report, and the end of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pcgrelay.config.values import SOCKET_PATH_LIMIT
from pcgrelay.errors import PermissionProblem, RunError
from pcgrelay.files import reason_of
from pcgrelay.output import say, size

ROOM_LEAST_BYTES = 64 << 20
# Beside the folder, a socket of a node in it: "/probation-1.sock".
SOCKET_NAME_MOST = 17
# What the demonstration and its nodes make; the rest of a folder that somebody works in is theirs.
NODES = ("relay-1", "relay-2", "kent-1", "met-1", "surrey-1")
OURS = ("ca", "realm-ca.pem", *(f"{name}*" for name in NODES))


def temporary_folder(stack: ExitStack, more_bytes: int = 0) -> Path:
    """A folder that is removed at the end, whatever is in it. RunError: there is no room.

    more_bytes: what is needed besides what each demonstration needs.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix="pcgrelay-demo-"))
    except OSError as error:
        raise RunError(f"{tempfile.gettempdir()}: no folder can be made here ({reason_of(error)}).") from None
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    refuse_full(folder, "make room, or name another folder in TMPDIR", more_bytes)
    refuse_long(folder, "name a shorter folder in TMPDIR")
    return folder


def named_folder(path: Path, stack: ExitStack) -> Path:
    """A new folder by that name; at the end the demonstration's files go, and it goes if nothing else is in it."""
    folder = path.absolute()
    refuse_long(folder, "name a shorter one with --by-hand")
    try:
        folder.mkdir(0o700)
    except FileExistsError:
        raise RunError(f"{path}: this is there already; name a new folder with --by-hand.") from None
    except FileNotFoundError:
        raise RunError(f"{path}: the folder {path.parent} does not exist; create it first.") from None
    except PermissionError:
        raise PermissionProblem(f"{path}: this user may not write here; name another folder with --by-hand.") from None
    except OSError as error:
        raise RunError(f"{path}: no folder can be made here ({reason_of(error)}).") from None
    stack.callback(remove_ours, folder)
    refuse_full(folder, "make room, or name a folder elsewhere")
    return folder


def remove_ours(folder: Path) -> None:
    """Remove what the demonstration made, and say what else there is."""
    with suppress(OSError):
        for pattern in OURS:
            for path in folder.glob(pattern):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
        left = sorted(path.name for path in folder.iterdir())
        if left:
            say(f"{folder} stays: {', '.join(left[:5])}{' and more' if left[5:] else ''} in it is yours.", err=True)
        else:
            folder.rmdir()


def refuse_long(folder: Path, cure: str) -> None:
    """RunError: the path of a node's admin socket would be too long in it (unix(7))."""
    most = SOCKET_PATH_LIMIT - SOCKET_NAME_MOST
    if (length := len(os.fsencode(folder))) > most:
        raise RunError(
            f"{folder}: this path has {length} bytes, and with more than {most} no node can open its admin socket in "
            f"it; {cure}."
        )


def refuse_full(folder: Path, cure: str, more_bytes: int = 0) -> None:
    """RunError: there is less room than the demonstration needs."""
    wanted = ROOM_LEAST_BYTES + more_bytes
    if (free := shutil.disk_usage(folder).free) < wanted:
        raise RunError(
            f"{folder.parent}: {size(free)} are free here, and the demonstration wants {size(wanted)}; {cure}."
        )


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """A failure to write there becomes one sentence."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{folder}: the demonstration's files cannot be written ({reason_of(error)}).") from None
