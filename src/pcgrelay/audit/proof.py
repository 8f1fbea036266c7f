"""A proof that one record is in a log, C2SP tlog-proof: the record, where it is, the hashes that lead to a signed head.

It can be checked years later without the log, by whoever has the policy. The record itself travels as "extra". That is
not authenticated by its place: it counts because its hash leads to the root.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.checkpoint import Checkpoint, CheckpointRefused, base64_bytes, base64_text, read_hash, read_size
from pcgrelay.audit.history import SignedHead, merged, read_history, read_newest
from pcgrelay.audit.note import NOTE_MOST_BYTES, Note, NoteRefused, NoteVerifier, Verified, verify_note
from pcgrelay.audit.policy import Policy
from pcgrelay.audit.segments import LINE_MOST_BYTES, read_record, segments_of
from pcgrelay.audit.tiles import TileReader
from pcgrelay.audit.tree import PROOF_MOST, TreeRefused, inclusion_proof, leaf_hash, verify_inclusion
from pcgrelay.errors import ProofProblem

HEAD = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
# A record in base64, a note, and lines for all hashes.
PROOF_MOST_BYTES = 4 * (LINE_MOST_BYTES + 3) // 3 + NOTE_MOST_BYTES + (PROOF_MOST + 4) * 64


class ProofRefused(ProofProblem):
    """Bytes are no proof, or it does not hold."""


class Proof(Struct, frozen=True):
    """A proof as it was read; nothing of it is believed before `check`."""

    index: int  # number of the record
    hashes: tuple[bytes, ...]
    note: Note  # a checkpoint
    extra: bytes | None = None  # the record, without its newline

    @property
    def encoded(self) -> bytes:
        """The proof as a file."""
        lines = [HEAD]
        if self.extra is not None:
            lines.append(f"extra {base64_text(self.extra)}")
        lines += [f"index {self.index}", *map(base64_text, self.hashes), "", ""]
        return "\n".join(lines).encode() + self.note.encoded

    @classmethod
    def parse(cls, data: bytes) -> Proof:
        """ProofRefused: the bytes have not the form of a proof, or exceed a limit."""
        if len(data) > PROOF_MOST_BYTES:
            raise ProofRefused(f"A proof has at most {PROOF_MOST_BYTES >> 10} KiB.")
        top, blank, rest = data.partition(b"\n\n")
        try:
            lines = top.decode("ascii").split("\n")
        except UnicodeDecodeError:
            raise ProofRefused("A proof is ASCII text up to its checkpoint, and this is not.") from None
        if not blank or lines[0] != HEAD:
            raise ProofRefused(f"A proof begins with the line {HEAD}, and has an empty line before its checkpoint.")
        extra = None
        if len(lines) > 1 and lines[1].startswith("extra "):
            extra = base64_bytes(lines.pop(1).removeprefix("extra "))
            if extra is None:
                raise ProofRefused("The line extra of a proof has base64, and this is something else.")
        if len(lines) < 2 or not lines[1].startswith("index "):
            raise ProofRefused("A proof has a line with the word index and the number of the record.")
        if len(lines) - 2 > PROOF_MOST:
            raise ProofRefused(f"A proof has at most {PROOF_MOST} hashes.")
        try:
            index = read_size(lines[1].removeprefix("index "), "The index of a proof")
            return cls(index, tuple(map(read_hash, lines[2:])), Note.parse(rest), extra)
        except (CheckpointRefused, NoteRefused) as refusal:
            raise ProofRefused(str(refusal)) from None

    @property
    def record(self) -> bytes:
        """The record that it proves. ProofRefused: it carries none, so it says nothing by itself."""
        if self.extra is None:
            raise ProofRefused("This proof carries no record, so there is nothing that it proves by itself.")
        if len(self.extra) > LINE_MOST_BYTES:
            raise ProofRefused(f"A record has at most {LINE_MOST_BYTES} bytes.")
        return self.extra


class Checked(Struct, frozen=True):
    """A proof that holds."""

    record: bytes
    index: int
    checkpoint: Checkpoint
    signed: tuple[Verified, ...]  # by the log
    witnessed: tuple[Verified, ...]


def check(proof: Proof, policy: Policy) -> Checked:
    """ProofRefused, NoteRefused, TreeRefused: the policy does not accept it, or a hash or a signature is wrong."""
    record = proof.record
    checkpoint = Checkpoint.parse(proof.note.text)
    logs = policy.logs_of(checkpoint.origin)
    if not logs:
        raise ProofRefused(f"The policy has no log {checkpoint.origin}; this proof is of another log.")
    signed = verify_note(proof.note, logs)
    witnessed = witnesses_of(proof.note, policy.witnesses.values())
    if not policy.is_met(witnessed):
        raise ProofRefused(
            f"The policy asks for more witnesses: {len(witnessed)} of those that it names have signed this head."
        )
    verify_inclusion(leaf_hash(record), proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    return Checked(record, proof.index, checkpoint, signed, witnessed)


def witnesses_of(note: Note, known: Collection[NoteVerifier]) -> tuple[Verified, ...]:
    """The cosignatures by known witnesses; none is no error. NoteRefused: one does not hold."""
    if not any(key.has_signed(each) for key in known for each in note.signatures):
        return ()
    return verify_note(note, known)


def prove(folder: Path, number: int) -> Proof:
    """The proof of one record, under the newest of those heads over it that have the most signatures.

    ProofProblem: there is no such record, it is not signed yet, or the log does not agree with what was signed.
    """
    head = _head_for(folder, number)
    if head is None:
        raise ProofProblem(
            f"Record {number:,} is in no head that was signed yet; a node signs within 60 seconds, so ask again then."
        )
    record = read_record(segments_of(folder), number)
    size, root = head.checkpoint.size, head.checkpoint.root
    hashes = inclusion_proof(number, size, TileReader(folder, size).hash_at)
    try:
        verify_inclusion(leaf_hash(record), number, size, hashes, root)
    except TreeRefused:
        raise ProofProblem(
            f"Record {number:,} does not lead to the head that was signed: the log was changed, or a tile is damaged. "
            f"To see where, run: pcgrelay audit verify {folder}"
        ) from None
    return Proof(number, tuple(hashes), head.note, record)


def _head_for(folder: Path, number: int) -> SignedHead | None:
    best = read_newest(folder)
    if best is not None and best.checkpoint.size <= number:
        best = None
    for head in merged(each for each in read_history(folder) if isinstance(each, SignedHead)):
        if head.checkpoint.size <= number:
            continue
        if best is None or len(head.note.signatures) >= len(best.note.signatures):
            best = head
    return best
