"""Audit logs for tests, on the disk of this machine, or on one that is full or loses what was not synced."""

from __future__ import annotations

import errno
import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from pcgrelay.audit.disk import AppendFile, Disk
from pcgrelay.audit.history import read_history, read_newest
from pcgrelay.audit.keys import LogKeys, load_keys, make_keys
from pcgrelay.audit.note import verify_note
from pcgrelay.audit.segments import read_lines, segments_of
from pcgrelay.audit.tiles import FOLDER as TILES
from pcgrelay.audit.tiles import TILE_WIDTH, tile_head, tile_path
from pcgrelay.audit.tree import HASH_BYTES, RightEdge, leaf_hash
from pcgrelay.errors import ProofProblem
from pcgrelay.model import NodeId
from pcgrelay.signing import sign

NODE = NodeId("police.example", "kent.police.example", "kent-1")
ORIGIN = "pcgrelay.police.example/kent.police.example/kent-1"


class Endorser:
    """The key and certificate of a node."""

    def __init__(self, node: NodeId = NODE) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        self.leaf = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(node.uri)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def __call__(self, data: bytes) -> tuple[Sequence[bytes], bytes]:
        return [self.leaf.public_bytes(Encoding.DER)], sign(self.key, data)


def keys_in(folder: Path, node: NodeId = NODE) -> LogKeys:
    """The keys of a log, made if they are not there."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "key.ed25519").exists():
        make_keys(folder)
    return load_keys(folder, node)


def lines_of(folder: Path) -> list[bytes]:
    """All whole lines of a log."""
    return [line.data for segment in segments_of(folder) for line in read_lines(segment) if not line.is_torn]


def records_of(folder: Path) -> list[dict[str, Any]]:
    """All whole records of a log."""
    return [json.loads(line) for line in lines_of(folder)]


def check_log(folder: Path) -> list[dict[str, Any]]:
    """Assert what verification asserts, in the plainest way: numbers, and that each head is that of the records."""
    lines = lines_of(folder)
    records = [json.loads(line) for line in lines]
    assert [record["n"] for record in records] == list(range(len(records)))
    heads = [head for head in read_history(folder) if not isinstance(head, ProofProblem)]
    if (newest := read_newest(folder)) is not None:
        heads.append(newest)
    roots, edge = {0: RightEdge().root()}, RightEdge()
    wanted = {head.checkpoint.size for head in heads}
    for line in lines:
        edge.append(leaf_hash(line))
        if edge.size in wanted:
            roots[edge.size] = edge.root()
    keys = load_keys(folder, NODE).public
    for head in heads:
        assert head.checkpoint.size <= len(lines), f"{head.where}: {head.checkpoint.size} signed, {len(lines)} there"
        assert roots[head.checkpoint.size] == head.checkpoint.root, head.where
        if any(each.name == ORIGIN for each in head.note.signatures):
            assert verify_note(head.note, (keys.ed25519, keys.ml_dsa_44))
    return records


def check_tiles(folder: Path) -> None:
    """Assert that each tile has the hashes that the records of a whole log give."""
    row, level = [leaf_hash(line) for line in lines_of(folder)], 0
    while row:
        groups = [row[at : at + TILE_WIDTH] for at in range(0, len(row), TILE_WIDTH)]
        for index, group in enumerate(groups):
            path = folder / TILES / tile_path(level, index)
            assert path.read_bytes() == b"".join(group), path
        row, level = [tile_head(group) for group in groups if len(group) == TILE_WIDTH], level + 1


class FullDisk(Disk):
    """A disk that is full while told so."""

    def __init__(self) -> None:
        self.is_full = False
        self.syncs_fail = False

    def open(self, path: Path, size: int) -> AppendFile:
        return _FullFile(self, path, size)


class _FullFile(AppendFile):
    def __init__(self, disk: FullDisk, path: Path, size: int) -> None:
        super().__init__(path, size)
        self._disk = disk

    def append(self, data: bytes) -> None:
        if self._disk.is_full:
            self._must_cut = True
            # Some of it still fits.
            super().append(data[: len(data) // 2])
            self.cut(self.size - len(data) // 2)
            raise OSError(errno.ENOSPC, "No space left on device")
        super().append(data)

    def sync(self) -> None:
        if self._disk.syncs_fail:
            raise OSError(errno.EIO, "Input/output error")
        super().sync()


class LyingDisk(Disk):
    """A disk that loses what was not synced, or parts of it, when the power fails."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.files: dict[Path, _VolatileFile] = {}
        self.tiles: dict[Path, bytes] = {}  # what is safe of each that was written
        self.unnamed: set[Path] = set()  # files and folders whose names are not synced

    def open(self, path: Path, size: int) -> AppendFile:
        file = _VolatileFile(path, size)
        self.files[path] = file
        return file

    def write_end(self, path: Path, at: int, data: bytes) -> None:
        if path not in self.tiles:
            self.tiles[path] = path.read_bytes() if path.exists() else b""
            self.unnamed |= {each for each in (path, *path.parents) if not each.exists()}
        super().write_end(path, at, data)
        self.tiles[path] = self.tiles[path][: _alike(self.tiles[path], path.read_bytes())]

    def sync(self, path: Path) -> None:
        super().sync(path)
        self.unnamed = {each for each in self.unnamed if each.parent != path}
        if path in self.tiles:
            self.tiles[path] = path.read_bytes()

    def rename(self, path: Path, to: Path) -> None:
        super().rename(path, to)
        for each, file in list(self.files.items()):
            if each.is_relative_to(path):
                file.path = to / each.relative_to(path)
                self.files[file.path] = self.files.pop(each)
        self.tiles = {each: safe for each, safe in self.tiles.items() if not each.is_relative_to(path)}

    def fail(self) -> None:
        """What is not synced is lost, or torn, or has holes."""
        for file in self.files.values():
            file.lose(self.chance)
        self.files.clear()
        for path, safe in self.tiles.items():
            if path.exists():
                self._lose_tile(path, safe)
        self.tiles.clear()
        self.unnamed.clear()

    def _lose_tile(self, path: Path, safe: bytes) -> None:
        if not self.unnamed.isdisjoint((path, *path.parents)) and self.chance.random() < 0.5:
            path.unlink()
            return
        data = path.read_bytes()
        length = self.chance.randrange(len(safe), len(data) + 1)
        match self.chance.randrange(3):
            case 0:
                path.write_bytes(data[:length])
            case 1:
                length -= length % HASH_BYTES  # holes are as large as sectors
                path.write_bytes(data[:length] + bytes(len(data) - length))
            case _:
                pass


def _alike(left: bytes, right: bytes) -> int:
    """How many bytes are the same at the beginning."""
    pairs = zip(left, right, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(left), len(right)))


class _VolatileFile(AppendFile):
    def __init__(self, path: Path, size: int) -> None:
        super().__init__(path, size)
        self._safe = size

    def sync(self) -> None:
        super().sync()
        self._safe = self.size

    def cut(self, size: int) -> None:
        super().cut(size)
        self._safe = min(self._safe, size)

    def lose(self, chance: random.Random) -> None:
        self.close()
        if not self.path.exists():
            return
        data = bytearray(self.path.read_bytes())
        volatile = len(data) - self._safe
        if volatile <= 0:
            return
        match chance.randrange(4):
            case 0:
                del data[self._safe :]
            case 1:
                del data[self._safe + chance.randrange(volatile + 1) :]
            case 2:
                start = self._safe + chance.randrange(volatile)
                data[start : start + 4_096] = bytes(len(data[start : start + 4_096]))
            case _:
                data[self._safe :] = bytes(volatile)
        self.path.write_bytes(data)
