"""SHA256SUMS of a folder: written, and held against what is there. The form is that of sha256sum(1)."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded

SUMS = "SHA256SUMS"
SUMS_LIMIT_BYTES = 4 << 20
FILES_MOST = 20_000
FILE_LIMIT_BYTES = 256 << 20
# What may stand in a pack beside the files that it was sealed with.
PROOF, SIGNATURE_SUFFIX = "pack.tlog-proof", ".sig"
_LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def sums_text(files: Mapping[str, bytes]) -> bytes:
    """Return the lines for these files, in the order of their names."""
    lines = (f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    return "".join(lines).encode()


def read_sums(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a folder, by its name. ConfigError: the list cannot be read."""
    path = folder / SUMS
    try:
        text = read_bounded(path, "list of digests", SUMS_LIMIT_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the list of digests is not UTF-8 text; it was changed.") from None
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None or not _is_inside(match[2]) or match[2] in found or len(found) >= FILES_MOST:
            raise ConfigError(f"{path}:{number}: this is no line of sha256sum; the list was changed.")
        found[match[2]] = match[1]
    if not found or not text.endswith("\n"):
        raise ConfigError(f"{path}: the list of digests is not whole; it was changed.")
    return found


def _is_inside(name: str) -> bool:
    parts = name.split("/")
    return name.isprintable() and all(part not in ("", ".", "..") for part in parts) and name != SUMS


def differences(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """Yield a phrase for each file that was changed, is missing, or was added."""
    there = set(files_of(folder))
    for name, digest in sums.items():
        if name not in there:
            yield f"{name} is missing"
        elif digest_of(folder / name) != digest:
            yield f"{name} was changed"
    for name in sorted(there - set(sums) - {SUMS, PROOF}):
        # Signatures are made of SHA256SUMS afterwards.
        if not (name.startswith(SUMS) and name.endswith(SIGNATURE_SUFFIX) and "/" not in name):
            yield f"{name} was added"


def files_of(folder: Path) -> Iterator[str]:
    """Yield the name of everything below a folder that is no folder, links too."""
    for root, folders, names in os.walk(folder):
        # A link to a folder is no folder of this pack.
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        for name in (*names, *links):
            yield os.path.relpath(os.path.join(root, name), folder)


def digest_of(path: Path) -> str:
    """Return the digest of a plain file; "" of anything else, or of one that is too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as source:
        if not os.path.isfile(path) or os.fstat(descriptor).st_size > FILE_LIMIT_BYTES:
            return ""
        return hashlib.file_digest(source, "sha256").hexdigest()
