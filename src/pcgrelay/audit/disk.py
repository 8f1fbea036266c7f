"""The files that the audit log grows by. A test puts another disk in their place, which loses what was not synced."""

from __future__ import annotations

import os
from pathlib import Path

from pcgrelay.files import sync_folder, write_replacing

FILE_MODE = 0o640
FOLDER_MODE = 0o750
# A pipe in the place of a file is an error at once, and no wait for somebody who reads it.
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class AppendFile:
    """A file that grows at its end. All methods raise OSError."""

    def __init__(self, path: Path, size: int) -> None:
        """Open or make it; what is behind size is cut off."""
        self.path = path
        self.size = size  # bytes
        self._must_cut = False  # there may be something behind size
        self._descriptor = os.open(path, _WRITE, FILE_MODE)
        try:
            os.ftruncate(self._descriptor, size)
        except OSError:
            self.close()
            raise

    def append(self, data: bytes) -> None:
        """Write all of it; on an error nothing of it counts, and `cut` removes what came through."""
        if self._must_cut:
            self.cut(self.size)
        view = memoryview(data)
        done = 0
        while done < len(view):
            self._must_cut = True
            done += os.pwrite(self._descriptor, view[done:], self.size + done)
        self._must_cut = False
        self.size += done

    def cut(self, size: int) -> None:
        """Forget what is behind size."""
        self.size, self._must_cut = size, True
        os.ftruncate(self._descriptor, size)
        self._must_cut = False

    def sync(self) -> None:
        """Return when all that was written outlasts a power failure."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of it; may be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Disk:
    """The disk of this machine."""

    def open(self, path: Path, size: int) -> AppendFile:
        """Open a file that grows; a new one outlasts a power failure once it was synced."""
        is_new = not path.exists()
        file = AppendFile(path, size)
        try:
            if is_new:
                sync_folder(path.parent)
        except OSError:
            file.close()
            raise
        return file

    def write_end(self, path: Path, at: int, data: bytes) -> None:
        """Have data at a place of a file. If it is there already, nothing is touched; else it is the end of the file.

        It outlasts a power failure after `sync`, of the file and of its folders. Missing folders are made.
        """
        flags = _WRITE & ~os.O_WRONLY | os.O_RDWR
        try:
            descriptor = os.open(path, flags, FILE_MODE)
        except FileNotFoundError:
            path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            descriptor = os.open(path, flags, FILE_MODE)
        try:
            if data and os.pread(descriptor, len(data), at) == data:
                return
            os.ftruncate(descriptor, at)
            written = os.pwrite(descriptor, data, at)
            if written < len(data):
                raise OSError(f"{path}: {written} of {len(data)} bytes were written")
        finally:
            os.close(descriptor)

    def sync(self, path: Path) -> None:
        """Return when a file, or the names in a folder, outlast a power failure. OSError: also if it is not there."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def replace(self, path: Path, data: bytes) -> None:
        """Put a whole file in the place of another, in a way that outlasts a power failure. Raises PcgrelayError."""
        write_replacing(path, data, FILE_MODE)

    def rename(self, path: Path, to: Path) -> None:
        """Give a file or folder another name."""
        os.rename(path, to)
        sync_folder(path.parent)
        if to.parent != path.parent:
            sync_folder(to.parent)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path, most: int) -> bool:
        """Remove so many files of a folder; whether all of it is gone."""
        for here, _, names in os.walk(path, topdown=False):
            for name in names:
                if not most:
                    return False
                os.unlink(os.path.join(here, name))
                most -= 1
            for each in os.scandir(here):
                if each.is_symlink():  # to a folder
                    os.unlink(each.path)
            os.rmdir(here)
        return True
