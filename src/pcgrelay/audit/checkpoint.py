"""A checkpoint, C2SP tlog-checkpoint: which log, how many records, and the root of their tree.

This is the text that is signed. Its signatures are those of a note, see `note`.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64encode

from msgspec import Struct

from pcgrelay.audit.tree import HASH_BYTES, SIZE_MOST
from pcgrelay.errors import ProofProblem

ORIGIN_PREFIX = "pcgrelay."
ORIGIN_MOST_BYTES = 255  # C2SP tlog-cosignature: log_origin<1..2^8-1>
TEXT_MOST_BYTES = 4_096
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


class CheckpointRefused(ProofProblem):
    """A text is no checkpoint."""


class Checkpoint(Struct, frozen=True):
    """The head of a log's tree."""

    origin: str
    size: int  # records
    root: bytes  # 32 bytes
    extensions: tuple[str, ...] = ()  # lines that say nothing to us; they are signed by type 0x01 and 0x04

    @property
    def text(self) -> str:
        """The text of the note, with its last newline."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, base64_text(self.root), *self.extensions))

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """CheckpointRefused: there are not exactly the lines of a checkpoint."""
        if len(text.encode()) > TEXT_MOST_BYTES:
            raise CheckpointRefused(f"A checkpoint has at most {TEXT_MOST_BYTES} bytes before its signatures.")
        lines = text.split("\n")
        if len(lines) < 4 or lines.pop() != "" or not all(lines):
            raise CheckpointRefused("A checkpoint has three lines or more, each with an end and none empty.")
        origin, size, root, *extensions = lines
        if len(origin.encode()) > ORIGIN_MOST_BYTES:
            raise CheckpointRefused(f"The origin of a checkpoint has at most {ORIGIN_MOST_BYTES} bytes.")
        return cls(origin, read_size(size, "The size of a checkpoint"), read_hash(root), tuple(extensions))


def origin_of(realm: str, organisation: str, node: str) -> str:
    """The name of a node's log. CheckpointRefused: these names are too long together."""
    origin = f"{ORIGIN_PREFIX}{realm}/{organisation}/{node}"
    if len(origin) > ORIGIN_MOST_BYTES:
        raise CheckpointRefused(
            f"{origin}: the name of an audit log has at most {ORIGIN_MOST_BYTES} characters, and this has "
            f"{len(origin)}; choose shorter names of realm, organisation and node."
        )
    return origin


def read_size(text: str, what: str) -> int:
    """A decimal number of 63 bits without leading zeroes. what begins the sentence of a refusal."""
    if not _DECIMAL.fullmatch(text) or (size := int(text)) > SIZE_MOST:
        raise CheckpointRefused(f"{what} is a decimal number from 0 to 2^63 - 1 without leading zeroes.")
    return size


def read_hash(text: str) -> bytes:
    """A SHA-256 hash in base64."""
    data = base64_bytes(text)
    if data is None or len(data) != HASH_BYTES:
        raise CheckpointRefused(f"A hash of a tree is {HASH_BYTES} bytes in base64, and here is something else.")
    return data


def base64_text(data: bytes) -> str:
    """Base64 of RFC 4648, section 4."""
    return b64encode(data).decode()


def base64_bytes(text: str) -> bytes | None:
    """The bytes of base64 in its one spelling: with padding, and with no bits set that are left over."""
    try:
        data = binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    return data if b64encode(data).decode() == text else None
