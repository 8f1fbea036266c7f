"""What a witness judges: whether a log's new head continues the one that it signed before; and what it is asked.

The request is that of C2SP tlog-witness, add-checkpoint: the size that the witness is believed to know, a consistency
proof from there, and the signed note (docs/protocol.md, 9.12).
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.checkpoint import Checkpoint, base64_text, read_hash, read_size
from pcgrelay.audit.keys import PublicKeys
from pcgrelay.audit.note import ED25519, Note, NoteRefused, verify_note
from pcgrelay.audit.tiles import TileReader
from pcgrelay.audit.tree import EMPTY_ROOT, PROOF_MOST, TreeRefused, consistency_proof, verify_consistency
from pcgrelay.errors import ProofProblem

BODY_MOST_BYTES = 12_288
_OLD = "old "


class WitnessRequest(Struct, frozen=True):
    """A request, of which nothing is verified yet."""

    old: int
    proof: tuple[bytes, ...]
    note: Note
    head: Checkpoint


class Known(Struct, frozen=True, kw_only=True):
    """What a witness has signed of one log."""

    origin: str
    keys: tuple[str, str, str]  # vkeys
    size: int = 0
    note: str = ""  # the last one, as it came

    @property
    def root(self) -> bytes:
        """The root that goes with the size."""
        return Checkpoint.parse(Note.parse(self.note.encode()).text).root if self.note else EMPTY_ROOT


class Verdict(Enum):
    """What a witness answers."""

    COSIGN = auto()
    SIZE = auto()  # it knows another size
    CONFLICT = auto()  # what it has signed is no beginning of this
    REFUSED = auto()


def proof_from(folder: Path, old: int, head: Checkpoint) -> tuple[bytes, list[bytes]]:
    """Return the root of the first old records, and the proof that this head of the log in a folder continues them.

    TileMissing, TreeRefused: the tiles do not lead to the head. They are made of the records, and one of them is
    damaged: that is no sign of another history, and must not be sent as one.
    """
    reader = TileReader(folder, head.size)
    root, proof = reader.edge(old).root(), consistency_proof(old, head.size, reader.hash_at)
    if old:
        verify_consistency(old, root, head.size, head.root, proof)
    return root, proof


def request_body(old: int, proof: Sequence[bytes], note: Note) -> bytes:
    """Return the text of a request, with the signatures of the log alone: those of witnesses are of no interest."""
    own = Note(note.text, tuple(each for each in note.signatures if each.name == note.text.partition("\n")[0]))
    lines = [f"{_OLD}{old}", *map(base64_text, proof), "", ""]
    return "\n".join(lines).encode() + own.encoded


def parse_request(body: bytes) -> WitnessRequest:
    """Read a request. ProofProblem: it is none."""
    head, blank, rest = body.partition(b"\n\n")
    try:
        first, *hashes = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise NoteRefused("A request to a witness begins with ASCII text, and this does not.") from None
    if not blank or not first.startswith(_OLD) or len(hashes) > PROOF_MOST:
        raise NoteRefused("A request to a witness has the old size, a proof, and a note; this has not.")
    note = Note.parse(rest)
    proof = tuple(map(read_hash, hashes))
    return WitnessRequest(read_size(first[len(_OLD) :], "The old size"), proof, note, Checkpoint.parse(note.text))


def judge(known: Known, request: WitnessRequest, keys: PublicKeys) -> Verdict:
    """Judge a request by what was signed before. The caller keeps the new head before it cosigns."""
    head = request.head
    try:
        signed = verify_note(request.note, (keys.ed25519, keys.ml_dsa_44))
    except ProofProblem:
        return Verdict.REFUSED
    if head.origin != keys.origin or not any(each.by.kind == ED25519 for each in signed) or request.old > head.size:
        return Verdict.REFUSED
    # What contradicts an empty tree contradicts nothing that was signed.
    contradiction = Verdict.CONFLICT if known.size else Verdict.REFUSED
    if head.size < known.size or (head.size == known.size and head.root != known.root):
        return contradiction
    if request.old != known.size:
        return Verdict.SIZE
    try:
        verify_consistency(known.size, known.root, head.size, head.root, request.proof)
    except TreeRefused:
        # Its own tree does not continue what it signed: else it could have proved it.
        return contradiction
    return Verdict.COSIGN


def head_signed(note: Note, keys: PublicKeys) -> Checkpoint | None:
    """The head in a note that somebody shows, if this log has signed it."""
    try:
        verify_note(note, (keys.ed25519,))
        head = Checkpoint.parse(note.text)
    except ProofProblem:
        return None
    return head if head.origin == keys.origin else None
