"""A back-up of a node, restored into an empty folder and held against what is in force.

A back-up is one or more tar archives of the configuration, the files that it names, and the folder of state. Nothing is
written outside of the folder, which is gone at the end, and no node is asked.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import msgspec
from msgspec import structs

from pcgrelay import config as configuration
from pcgrelay.backup import MANIFEST, Manifest
from pcgrelay.check import check_files
from pcgrelay.config import Config
from pcgrelay.drills.record import DrillFile
from pcgrelay.errors import ConfigError, PcgrelayError
from pcgrelay.files import reason_of
from pcgrelay.finding import ERROR
from pcgrelay.policy.digest import digest_on_disk
from pcgrelay.state.file import is_whole
from pcgrelay.state.folder import LOCK

FILES_MOST = 10_000
BYTES_MOST = 256 << 20
REST_MOST = 1 << 20  # tar fills its last record with zeros
PIECE_MOST = 1 << 20  # what is read at once; headers of an archive, which are read whole, are smaller
HEADERS_MOST = 64 << 20  # of all files together
_PACKED: tuple[tuple[bytes, Callable[[Path], object]], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\0", lzma.open),
)
FOLDER_MODE = 0o700
# Of one file.
SAME, DIFFERS, MISSING, OLDER, NEWER, DAMAGED = "same", "differs", "missing", "older", "newer", "damaged"
LEFT_OUT = "left out"  # on purpose: keys
BAD = (DIFFERS, MISSING, DAMAGED)
SECRETS = ("identity.key", "fleet.key", "fleet.password")


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of it."""

    files: tuple[DrillFile, ...]
    problem: str  # why a node could not be started from it; nothing: it could
    sentence: str
    policy: str = ""  # digest of its policy; nothing: it could not be read


def restore(archives: Sequence[Path], live: Path) -> Restored:
    """Restore a back-up of the node with this configuration, and compare it. ConfigError: an archive is refused."""
    with tempfile.TemporaryDirectory(prefix="pcgrelay-restore-") as folder:
        root = Path(folder)
        made_s = 0.0
        for archive in archives:
            made_s = max(made_s, _unpack(archive, root))
        return _compared(root, live.absolute(), made_s)


def _compared(root: Path, live: Path, made_s: float) -> Restored:
    found = _find_config(root, live)
    try:
        now = configuration.load(live)
        has_keys = _has_keys(root)
        then = _within(configuration.load(found), root, live, found)
        if not has_keys:
            # The key is kept elsewhere, so the one in force stands for it.
            then = structs.replace(then, identity=structs.replace(then.identity, key=now.identity.key))
            if then.fleet is not None and now.fleet is not None:
                kept = structs.replace(then.fleet, key=now.fleet.key, password=now.fleet.password)
                then = structs.replace(then, fleet=kept)
    except PcgrelayError as error:
        problem = str(error).replace(str(root), "back-up")
        return Restored((), problem, problem.rstrip("."))
    files = [*_named(now, then, live, found, has_keys=has_keys), *_state(now, then, made_s)]
    errors = [each for each in check_files(then) if each.level == ERROR and not each.dates]
    problem = f"{errors[0].where}: {errors[0].sentence}".replace(str(root), "back-up") if errors else ""
    bad = [each for each in files if each.outcome in BAD]
    if problem:
        return Restored(tuple(files), problem, problem.rstrip("."))
    if bad:
        words = ", ".join(f"{each.name} ({each.outcome})" for each in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        return Restored(tuple(files), words, f"a node restored from it is not the one that runs: {words}{more}")
    same = sum(each.outcome == SAME for each in files)
    sentence = f"check finds no error, and {same} of {len(files)} files are as they are now"
    try:
        return Restored(tuple(files), "", sentence, digest_on_disk(then))
    except PcgrelayError as error:
        problem = str(error).replace(str(root), "back-up")
        return Restored(tuple(files), problem, problem.rstrip("."))


# -- an archive ------------------------------------------------------------------------------------------------


def _unpack(archive: Path, root: Path) -> float:
    """Unpack an archive below a folder; answers when it was written. What could leave the folder is refused."""
    try:
        with _opened(archive) as source, tarfile.open(fileobj=_Bounded(source, archive), mode="r:") as tar:
            total = 0
            for number, member in enumerate(tar):
                if number >= FILES_MOST:
                    raise ConfigError(f"{archive}: it has more than {FILES_MOST:,} files; is that a back-up of a node?")
                total += member.size
                if total > BYTES_MOST:
                    raise ConfigError(f"{archive}: it is more than {BYTES_MOST >> 20} MiB; leave out what is no state.")
                _unpack_one(archive, tar, member, root)
            # What compresses it has its sum at the very end, and only who reads that far compares it.
            rest = tar.fileobj.read(REST_MOST) if tar.fileobj else b""
            if len(rest) >= REST_MOST:
                raise ConfigError(f"{archive}: something follows the archive in it; make it again.")
        return archive.stat().st_mtime
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{archive}: it is no tar archive that can be read ({error}).") from None
    except OSError as error:
        raise ConfigError(f"{archive}: it cannot be read ({reason_of(error)}).") from None


def _opened(archive: Path) -> BinaryIO:
    """Open an archive as what it unpacks to. OSError: it cannot be read."""
    with open(archive, "rb") as source:
        begin = source.read(8)
    opener = next((each for magic, each in _PACKED if begin.startswith(magic)), None)
    return open(archive, "rb") if opener is None else cast("BinaryIO", opener(archive))


class _Bounded(io.RawIOBase):
    """What an archive unpacks to. A few bytes may unpack to a header of any length, which tarfile would read whole."""

    def __init__(self, source: BinaryIO, archive: Path) -> None:
        self._source = source
        self._archive = archive
        self._left = BYTES_MOST + HEADERS_MOST

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= PIECE_MOST or size > self._left:
            raise ConfigError(f"{self._archive}: a header in it is too long for the archive of a node; make it again.")
        self._left -= size
        return self._source.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()


def _unpack_one(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path) -> None:
    parts = [part for part in PurePosixPath(member.name).parts if part not in ("/", ".")]
    if ".." in parts or "\0" in member.name:
        raise ConfigError(
            f"{archive}: {member.name!r} would leave the folder it is unpacked into; it was not unpacked."
        )
    path = root.joinpath(*parts)
    if member.isdir():
        path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        return
    if not member.isfile():
        raise ConfigError(f"{archive}: {member.name!r} is a link or a device; make the archive with tar --dereference.")
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as sink:
        while block := content.read(1 << 20):
            sink.write(block)
        # As the archive has it: a key that others may read is one that check refuses.
        os.fchmod(sink.fileno(), stat.S_IMODE(member.mode) & 0o777)


def _has_keys(root: Path) -> bool:
    """Whether an archive has keys; one that people made with tar has them."""
    try:
        return msgspec.json.decode((root / MANIFEST).read_bytes(), type=Manifest).keys
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return True


def _find_config(root: Path, live: Path) -> Path:
    """The configuration in the back-up: at its own path, or the only file of that name."""
    at_its_path = root / live.relative_to("/")
    found = [at_its_path] if at_its_path.is_file() else sorted(root.rglob(live.name))
    if len(found) != 1:
        count = "no" if not found else f"{len(found)}"
        raise ConfigError(f"There is {count} {live.name} in the back-up; put the node's configuration into it, once.")
    return found[0]


# -- what is compared ------------------------------------------------------------------------------------------


def _within(config: Config, root: Path, live: Path, found: Path) -> Config:
    """The restored configuration, with absolute paths of files as they are in the folder."""

    def inside(path: Path) -> Path:
        if path.is_relative_to(root):
            return path
        if path.is_relative_to(live.parent):
            return found.parent / path.relative_to(live.parent)
        return root / path.relative_to("/")

    identity, node = config.identity, config.node
    identity = structs.replace(
        identity,
        certificate=inside(identity.certificate),
        key=inside(identity.key),
        trust=inside(identity.trust),
        crl=None if identity.crl is None else inside(identity.crl),
    )
    node = structs.replace(
        node,
        state=None if node.state is None else inside(node.state),
        inventory=None if node.inventory is None else inside(node.inventory),
    )
    approvals = config.approvals
    if approvals is not None:
        revoked = None if approvals.revoked is None else inside(approvals.revoked)
        approvals = structs.replace(approvals, signers=inside(approvals.signers), revoked=revoked)
    fleet = config.fleet
    if fleet is not None:
        named = {name: getattr(fleet, name) for name in ("certificate", "key", "trust", "password")}
        fleet = structs.replace(fleet, **{name: path and inside(path) for name, path in named.items()})
    return structs.replace(config, identity=identity, node=node, approvals=approvals, fleet=fleet)


def _named(now: Config, then: Config, live: Path, found: Path, *, has_keys: bool) -> Iterator[DrillFile]:
    """The configuration, and the files that it names."""
    pairs = [
        ("configuration", live, found),
        ("identity.certificate", now.identity.certificate, then.identity.certificate),
        ("identity.key", now.identity.key, then.identity.key),
        ("identity.trust", now.identity.trust, then.identity.trust),
        ("identity.crl", now.identity.crl, then.identity.crl),
        ("node.inventory", now.node.inventory, then.node.inventory),
        *(
            (f"approvals.{name}", getattr(now.approvals, name, None), getattr(then.approvals, name, None))
            for name in ("signers", "revoked")
        ),
        *(
            (f"fleet.{name}", getattr(now.fleet, name, None), getattr(then.fleet, name, None))
            for name in ("certificate", "key", "trust", "password")
        ),
    ]
    for name, mine, restored in pairs:
        if name in SECRETS and not has_keys and (mine or restored) is not None:
            yield DrillFile(name=name, outcome=LEFT_OUT)
        elif mine is not None or restored is not None:
            before, after = _read(mine), _read(restored)
            outcome = MISSING if after is None else SAME if before == after else DIFFERS
            yield DrillFile(name=name, outcome=outcome, sha256=_digest(after))


def _state(now: Config, then: Config, made_s: float) -> Iterator[DrillFile]:
    """The files of state. They change while the node runs, so an older one is fine, and one that is torn is not."""
    if now.node.state is None:
        return
    restored = then.node.state
    mine = {path.relative_to(now.node.state): path for path in now.node.state.rglob("*") if path.is_file()}
    theirs = {}
    if restored is not None:
        theirs = {path.relative_to(restored): path for path in restored.rglob("*") if path.is_file()}
    for name in sorted({*mine, *theirs} - {Path(LOCK)}):
        if name.name.startswith(".") or name.suffix != ".json":
            # A draft, or the one before.
            continue
        after, before = _read(theirs.get(name)), _read(mine.get(name))
        if after is None:
            outcome = NEWER if mine[name].stat().st_mtime > made_s else MISSING
        elif not is_whole(after):
            outcome = DAMAGED
        else:
            outcome = SAME if before == after else OLDER
        yield DrillFile(name=f"state/{name}", outcome=outcome, sha256=_digest(after))


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError:
        return None


def _digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()
