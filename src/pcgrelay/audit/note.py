"""Signed notes, C2SP signed-note and tlog-cosignature: a text, and below it a line for each signature.

Three types of signature are known. 0x01 is Ed25519 over the text. 0x04 is an Ed25519 cosignature of a witness: it
states that at a time the witness knew no larger tree of that log. 0x06 is the same by ML-DSA-44; the log itself signs
with it too, so that what is signed today is still worth something when Ed25519 no longer is. Its statement has no place
for lines after the root, so it does not cover a checkpoint's extension lines.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from msgspec import Struct

from pcgrelay.audit.checkpoint import Checkpoint, CheckpointRefused, base64_bytes, base64_text
from pcgrelay.errors import ProofProblem

NOTE_MOST_BYTES = 65_536
SIGNATURES_MOST = 32  # C2SP: at least 16
NAME_MOST_BYTES = 255  # C2SP tlog-cosignature: cosigner_name<1..2^8-1>
TIME_MOST_S = (1 << 63) - 1

ED25519: Final = 0x01
COSIGNATURE_ED25519: Final = 0x04
COSIGNATURE_ML_DSA_44: Final = 0x06
TYPE_NAMES = {ED25519: "Ed25519", COSIGNATURE_ED25519: "Ed25519 cosignature", COSIGNATURE_ML_DSA_44: "ML-DSA-44"}

_PUBLIC_BYTES = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_ML_DSA_44: 1_312}
_SIGNATURE_BYTES = {ED25519: 64, COSIGNATURE_ED25519: 8 + 64, COSIGNATURE_ML_DSA_44: 8 + 2_420}
_KEY_ID_BYTES = 4
_DASH = "\u2014 "
_SUBTREE_LABEL = b"subtree/v1\n\0"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID = re.compile(r"[0-9a-f]{8}", re.ASCII)


class NoteRefused(ProofProblem):
    """Bytes are no signed note, a key is none, or a signature does not hold."""


class Signature(Struct, frozen=True):
    """One line below a note."""

    name: str
    key_id: bytes  # 4 bytes
    value: bytes  # what follows the key's number: its form depends on the type of the key

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{_DASH}{self.name} {base64_text(self.key_id + self.value)}\n"


class Note(Struct, frozen=True):
    """A text and its signatures. Nothing in it is to be believed before `verify_note`."""

    text: str  # with its last newline
    signatures: tuple[Signature, ...]

    @property
    def encoded(self) -> bytes:
        """The note as it is kept and sent."""
        return (self.text + "\n" + "".join(each.line for each in self.signatures)).encode()

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """NoteRefused: the bytes have not the form of a signed note, or exceed a limit."""
        if len(data) > NOTE_MOST_BYTES:
            raise NoteRefused(f"A signed note has at most {NOTE_MOST_BYTES} bytes.")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise NoteRefused("A signed note is UTF-8 text, and this is not.") from None
        if _CONTROL.search(whole):
            raise NoteRefused("A signed note has no control characters but newlines, and this has.")
        before, blank, lines = whole.rpartition("\n\n")
        if not blank:
            raise NoteRefused("A signed note has an empty line between its text and its signatures.")
        return cls(before + "\n", read_signatures(lines))


class NoteVerifier(Struct, frozen=True):
    """A public key with the name of who signs by it."""

    name: str
    kind: int
    public: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)
        if self.kind not in _PUBLIC_BYTES:
            raise NoteRefused(
                f"The key of {self.name} has the type {self.kind:#04x}, which is none of 0x01, 0x04, 0x06."
            )
        if len(self.public) != _PUBLIC_BYTES[self.kind]:
            raise NoteRefused(f"The key of {self.name} has not the length of its type, {TYPE_NAMES[self.kind]}.")

    @classmethod
    def parse(cls, vkey: str) -> NoteVerifier:
        """Read a verifier key: NAME+KEY ID+BASE64. NoteRefused: it is none, or of a type that is not known."""
        name, _, rest = vkey.partition("+")
        number, plus, encoded = rest.partition("+")
        key = base64_bytes(encoded)
        if not plus or not _KEY_ID.fullmatch(number) or not key:
            raise NoteRefused("A verifier key is NAME+8 hexadecimal digits+base64, and this is something else.")
        verifier = cls(name, key[0], key[1:])
        if verifier.key_id.hex() != number:
            raise NoteRefused(f"The verifier key of {name} has the number {number}, and its key another.")
        return verifier

    @property
    def key_id(self) -> bytes:
        """The 4 bytes by which a signature names the key. They identify it among known keys, and prove nothing."""
        return sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:_KEY_ID_BYTES]

    @property
    def vkey(self) -> str:
        """The key as text: NAME+KEY ID+BASE64."""
        return f"{self.name}+{self.key_id.hex()}+{base64_text(bytes([self.kind]) + self.public)}"

    def has_signed(self, signature: Signature) -> bool:
        """Whether a signature says that it is by this key."""
        return (signature.name, signature.key_id) == (self.name, self.key_id)

    def verify(self, text: str, value: bytes) -> int:
        """Return the time of a cosignature, in seconds since 1970, or 0 if the type has none.

        NoteRefused: the signature does not hold, or the text is no checkpoint and the type is for these alone.
        """
        if len(value) != _SIGNATURE_BYTES[self.kind]:
            raise NoteRefused(f"The signature of {self.name} has not the length of its type, {TYPE_NAMES[self.kind]}.")
        time_s = 0 if self.kind == ED25519 else int.from_bytes(value[:8])
        message = _message(self, text, time_s)
        key: Ed25519PublicKey | MLDSA44PublicKey
        try:
            if self.kind == COSIGNATURE_ML_DSA_44:
                key = MLDSA44PublicKey.from_public_bytes(self.public)
            else:
                key = Ed25519PublicKey.from_public_bytes(self.public)
            key.verify(value if self.kind == ED25519 else value[8:], message)
        except (InvalidSignature, ValueError):
            raise NoteRefused(f"The signature of {self.name} ({TYPE_NAMES[self.kind]}) does not hold.") from None
        return time_s


class NoteSigner:
    """A private key with the name of who signs by it."""

    def __init__(self, name: str, kind: int, key: Ed25519PrivateKey | MLDSA44PrivateKey) -> None:
        """kind: a type of signature that this key can make."""
        if isinstance(key, MLDSA44PrivateKey) != (kind == COSIGNATURE_ML_DSA_44):
            raise NoteRefused(f"A key of this kind makes no signatures of the type {kind:#04x}.")
        self.verifier = NoteVerifier(name, kind, key.public_key().public_bytes_raw())
        self._key = key

    @classmethod
    def generate(cls, name: str, kind: int) -> Self:
        """Make a new key."""
        is_ml_dsa = kind == COSIGNATURE_ML_DSA_44
        return cls(name, kind, MLDSA44PrivateKey.generate() if is_ml_dsa else Ed25519PrivateKey.generate())

    def sign(self, text: str, time_s: int) -> Signature:
        """Sign a text. time_s, seconds since 1970, is left out by the type that has none."""
        value = self._key.sign(_message(self.verifier, text, time_s))
        if self.verifier.kind != ED25519:
            value = time_s.to_bytes(8) + value
        return Signature(self.verifier.name, self.verifier.key_id, value)


class Verified(Struct, frozen=True):
    """A signature that holds."""

    by: NoteVerifier
    time_s: int  # of a cosignature, in seconds since 1970; 0: the type has none


def verify_note(note: Note, known: Iterable[NoteVerifier]) -> tuple[Verified, ...]:
    """Return the signatures by known keys, in the order of the note; others are ignored.

    NoteRefused: none is by a known key, or one of these does not hold.
    """
    keys = {(each.name, each.key_id): each for each in known}
    found = []
    for signature in note.signatures:
        if (by := keys.pop((signature.name, signature.key_id), None)) is not None:
            found.append(Verified(by, by.verify(note.text, signature.value)))
    if not found:
        raise NoteRefused("None of the signatures is by a key that is known.")
    return tuple(found)


def sign_note(text: str, signers: Sequence[NoteSigner], time_s: int) -> Note:
    """Sign a text by each key. It ends with a newline."""
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteRefused("The text of a note ends with a newline and has no other control characters.")
    return Note(text, tuple(each.sign(text, time_s) for each in signers))


def read_signatures(lines: str) -> tuple[Signature, ...]:
    """Read the lines below a note, or the answer of a witness. NoteRefused: one is no such line, or there is none."""
    texts = lines.split("\n")
    if texts.pop() != "" or not texts:
        raise NoteRefused("A note has at least one signature, and each is a line of its own.")
    if len(texts) > SIGNATURES_MOST:
        raise NoteRefused(f"A note has at most {SIGNATURES_MOST} signatures.")
    return tuple(map(_signature, texts))


def check_key_name(name: str) -> str:
    """Return the name of a key unchanged. NoteRefused: it cannot stand in a note."""
    if not name or "+" in name or any(each.isspace() for each in name) or _CONTROL.search(name):
        raise NoteRefused("The name of a key is not empty, and has neither blanks nor +.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # read from a policy, whose names are bytes
        raise NoteRefused("The name of a key is UTF-8 text, and this is not.") from None
    if size > NAME_MOST_BYTES:
        raise NoteRefused(f"The name of a key has at most {NAME_MOST_BYTES} bytes.")
    return name


def _signature(line: str) -> Signature:
    name, blank, encoded = line.removeprefix(_DASH).partition(" ")
    value = base64_bytes(encoded)
    if not line.startswith(_DASH) or not blank or value is None or len(value) <= _KEY_ID_BYTES:
        raise NoteRefused("A signature is a line: a long dash, a name, and base64, with one blank between each two.")
    return Signature(check_key_name(name), value[:_KEY_ID_BYTES], value[_KEY_ID_BYTES:])


def _message(by: NoteVerifier, text: str, time_s: int) -> bytes:
    """What a signature of that type is over."""
    if by.kind == ED25519:
        return text.encode()
    if not 0 <= time_s <= TIME_MOST_S:
        raise NoteRefused(f"The cosignature of {by.name} has a time beyond 2^63 - 1.")
    try:
        checkpoint = Checkpoint.parse(text)
    except CheckpointRefused as refusal:
        raise NoteRefused(f"{by.name} signs checkpoints alone, and this is none. {refusal}") from None
    if by.kind == COSIGNATURE_ED25519:
        return f"cosignature/v1\ntime {time_s}\n{text}".encode()
    name, origin = by.name.encode(), checkpoint.origin.encode()
    head = struct.pack(">B", len(name)) + name + struct.pack(">QB", time_s, len(origin)) + origin
    return _SUBTREE_LABEL + head + struct.pack(">QQ", 0, checkpoint.size) + checkpoint.root
