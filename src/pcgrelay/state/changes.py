"""STATE/approved/changes: the last changes that people signed, so that their signatures can be verified again later.

Each is a folder with the text, its signatures, and the list of signers and the revoked keys by which they were judged.
Nothing that is decided depends on it: what is lost here is still named in the audit log, with the keys of who signed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from pcgrelay.errors import PcgrelayError
from pcgrelay.files import PRIVATE_MODE, make_folder, read_bounded, write_new
from pcgrelay.state.file import StateFile

FOLDER = "changes"
TAKEN = "taken.json"
CHANGES_MOST = 64
FILE_LIMIT_BYTES = 1 << 20
FOLDER_MODE = 0o700

_NUMBER = re.compile(r"\d{6}", re.ASCII)


class Taken(Struct, frozen=True, kw_only=True):
    """What is kept of a change beside its text."""

    digest: str  # of the policy that it led to, as the version of then computed it
    taken: str  # when, UTC
    change: str
    files: dict[str, str]  # SHA-256 of each file of the folder, in hex


class KeptChange(Struct, frozen=True, kw_only=True):
    """One change, whole: its text, signatures, and the signers and revoked keys that judged it, by names of files."""

    path: Path
    taken: Taken
    files: dict[str, bytes]


class ChangeArchive:
    """The folder. Who writes STATE/approved writes it."""

    def __init__(self, approved: Path) -> None:
        self.folder = approved / FOLDER

    def add(self, digest: str, taken: str, change: str, files: Mapping[str, bytes]) -> None:
        """Keep a change, and forget the oldest ones beyond CHANGES_MOST. PcgrelayError: it cannot be written."""
        make_folder(self.folder, FOLDER_MODE)
        names = self._names()
        target = self.folder / f"{int(names[-1]) + 1 if names else 1:06d}"
        make_folder(target, FOLDER_MODE)
        kept = Taken(digest=digest, taken=taken, change=change, files={name: _sha256(files[name]) for name in files})
        try:
            for name, data in files.items():
                write_new(target / name, data, PRIVATE_MODE)
            # The last one: a folder without it was not finished, and is none.
            _record(target).write(kept)
        except PcgrelayError:
            shutil.rmtree(target, ignore_errors=True)
            raise
        for name in [*names, target.name][:-CHANGES_MOST]:
            with suppress(OSError):
                shutil.rmtree(self.folder / name)

    def read(self) -> list[KeptChange]:
        """Return all that are whole, the newest first."""
        return [found for name in reversed(self._names()) if (found := self._whole(self.folder / name)) is not None]

    def _whole(self, path: Path) -> KeptChange | None:
        _, taken = _record(path).read()
        if taken is None or any("/" in name or name.startswith(".") for name in taken.files):
            return None
        try:
            files = {name: read_bounded(path / name, "kept change", FILE_LIMIT_BYTES) for name in taken.files}
        except PcgrelayError:
            return None
        if any(_sha256(data) != taken.files[name] for name, data in files.items()):
            return None
        return KeptChange(path=path, taken=taken, files=files)

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if _NUMBER.fullmatch(name))
        except OSError:
            return []


def _record(path: Path) -> StateFile[Taken]:
    return StateFile(path / TAKEN, "approved-change", 1, Taken, keeps_before=False)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
