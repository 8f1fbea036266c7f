"""STATE/approved: the policy that was approved last, as plain files that anybody can verify, and the one before it.

Each is a folder of its own, which is written whole before the small file that points at it. That file has the digests
of what is in the folder; if a file is not what it was, the one before holds. The node runs on these copies.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from msgspec import Struct, structs

from pcgrelay.errors import ConfigError, PcgrelayError
from pcgrelay.files import PRIVATE_MODE, make_folder, read_bounded, write_new
from pcgrelay.state.changes import ChangeArchive
from pcgrelay.state.file import Found, StateFile

FOLDER = "approved"
POINTER = "approved.json"
KIND = "approved"
USED = "used.json"
POLICY, CHANGE, SIGNERS, TRUST, REVOKED = "policy.toml", "policy.change", "allowed_signers", "trust.pem", "revoked.krl"
FILE_LIMIT_BYTES = 1 << 20
FOLDER_MODE = 0o700
HOLDS_MOST = 1_024

_NUMBER = re.compile(r"\d{6}", re.ASCII)


class Signed(Struct, frozen=True, kw_only=True):
    """Who signed last, and when that was taken: what came into force since then widened nothing."""

    approved: tuple[str, ...]
    taken: str
    by: str = ""
    change: str = ""


class Pointer(Struct, frozen=True, kw_only=True):
    """Which folder holds, and what was decided when it was taken."""

    folder: str
    digest: str  # of the policy, 64 hex digits, as `version` computes it
    version: str  # of pcgrelay
    files: dict[str, str]  # SHA-256 of each file of the folder, in hex
    taken: str  # when, UTC
    by: str = ""  # who proposed it; nobody, where nothing widened
    change: str = ""
    approved: tuple[str, ...] = ()  # who signed
    is_first: bool = False
    signed: Signed | None = None  # nothing: as far as is known nobody has, or this is of an earlier version
    # Changes that were taken, this one too, by the SHA-256 of their text, and until when each could be taken again.
    # They stand here, and not beside the acts, so that a change is in force and used by one rename.
    changes: dict[str, str] = {}
    forgotten: str = ""  # changes that were to be taken up to this moment are not known any more


class Used(Struct, frozen=True, kw_only=True):
    """Acts that were carried out, by the digest of their text, and until when it could be used again; and holds."""

    acts: dict[str, str] = {}
    forgotten: str = ""  # acts that were to be carried out up to this moment are not known any more
    holds: dict[str, tuple[str, ...]] = {}  # digest of a change: who holds it


class Approved(Struct, frozen=True, kw_only=True):
    """An approved policy, whole and checked against its digests."""

    path: Path
    pointer: Pointer
    files: dict[str, bytes]
    is_older: bool = False  # the one that was taken last cannot be read

    @property
    def text(self) -> str:
        """The configuration file."""
        return self.files[POLICY].decode("utf-8-sig")


class ApprovedStore:
    """The folder. One process at a time writes it: the one that has the state folder."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self.changes = ChangeArchive(self.folder)
        self._pointer = StateFile(self.folder / POINTER, KIND, 1, Pointer)
        self._used = StateFile(self.folder / USED, "approvals-used", 1, Used)

    def read(self) -> Approved | None:
        """Return what holds; nothing if nothing was ever approved. ConfigError: it is there, and not whole."""
        found, pointer = self._pointer.read()
        if found is Found.NOTHING:
            return None
        newest = None if pointer is None else self._whole(pointer)
        if newest is not None:
            return newest
        before = self._before()
        if before is None:
            raise ConfigError(
                f"{self.folder}: the policy that was approved last cannot be read, nor the one before it; put the "
                "folder back from a copy, or begin anew with an empty state folder and: pcgrelay approve --first"
            )
        return structs.replace(before, is_older=True)

    def before(self) -> Approved | None:
        """Return the one before what holds, for a way back."""
        return self._before()

    def write(self, files: dict[str, bytes], pointer: Pointer) -> Approved:
        """Keep a policy and point at it. pointer: its folder and files are filled in here.

        PcgrelayError: it cannot be written, and what held before holds.
        """
        make_folder(self.folder, FOLDER_MODE)
        judges = None if pointer.is_first else self._held()
        name = self._next()
        target = self.folder / name
        make_folder(target, FOLDER_MODE)
        try:
            for each, data in files.items():
                write_new(target / each, data, PRIVATE_MODE)
            digests = {each: _sha256(data) for each, data in files.items()}
            filled = structs.replace(pointer, folder=name, files=digests)
            self._pointer.write(filled)
        except PcgrelayError:
            shutil.rmtree(target, ignore_errors=True)
            raise
        self._forget()
        with suppress(PcgrelayError):
            self._keep_change(filled, files, files if judges is None else judges.files)
        return Approved(path=target, pointer=filled, files=files)

    def rehash(self, held: Approved, digest: str, version: str) -> Approved:
        """Keep another digest of the same files, as another version computes it."""
        pointer = structs.replace(held.pointer, digest=digest, version=version)
        # What was before stays before: this is no other policy.
        StateFile(self.folder / POINTER, KIND, 1, Pointer, keeps_before=False).write(pointer)
        return structs.replace(held, pointer=pointer)

    def used(self) -> Used:
        """Return which acts were carried out, and which changes are held. ConfigError: it cannot be read."""
        found, used = self._used.read()
        if found in (Found.BEFORE, Found.LOST):
            # In the one before, what was used last is good again.
            raise ConfigError(
                f"{self.folder / USED}: it cannot be read, so no act is allowed; put it back from a copy."
            )
        return used or Used()

    def keep_used(self, used: Used) -> None:
        """Keep them. PcgrelayError: it cannot be written."""
        make_folder(self.folder, FOLDER_MODE)
        self._used.write(used)

    def _held(self) -> Approved | None:
        try:
            return self.read()
        except ConfigError:
            return None

    def _keep_change(self, pointer: Pointer, files: dict[str, bytes], judges: dict[str, bytes]) -> None:
        """Keep the text that people signed, by whose signers it was judged. PcgrelayError: it cannot be written."""
        if CHANGE not in files:
            return
        signed = {name: data for name, data in files.items() if name.startswith(CHANGE)}
        by = {name: judges[name] for name in (SIGNERS, REVOKED) if name in judges}
        self.changes.add(pointer.digest, pointer.taken, pointer.change, signed | by)

    def _whole(self, pointer: Pointer) -> Approved | None:
        """Return the policy that a pointer names, if each of its files is what it was."""
        if not _NUMBER.fullmatch(pointer.folder) or POLICY not in pointer.files:
            return None
        path = self.folder / pointer.folder
        files: dict[str, bytes] = {}
        for name, digest in pointer.files.items():
            if "/" in name or name.startswith("."):
                return None
            try:
                data = read_bounded(path / name, "approved copy", FILE_LIMIT_BYTES)
            except PcgrelayError:
                return None
            if _sha256(data) != digest:
                return None
            files[name] = data
        return Approved(path=path, pointer=pointer, files=files)

    def _before(self) -> Approved | None:
        path = self.folder / f"{POINTER}.before"
        _, pointer = StateFile(path, KIND, 1, Pointer, keeps_before=False).read()
        return None if pointer is None else self._whole(pointer)

    def _folders(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self.folder) if _NUMBER.fullmatch(name))
        except OSError:
            return []

    def _next(self) -> str:
        folders = self._folders()
        return f"{int(folders[-1]) + 1 if folders else 1:06d}"

    def _forget(self) -> None:
        """Remove folders that nothing points at any more."""
        kept = set()
        for path in (self.folder / POINTER, self.folder / f"{POINTER}.before"):
            _, pointer = StateFile(path, KIND, 1, Pointer, keeps_before=False).read()
            if pointer is not None:
                kept.add(pointer.folder)
        for name in set(self._folders()) - kept:
            with suppress(OSError):
                shutil.rmtree(self.folder / name)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
