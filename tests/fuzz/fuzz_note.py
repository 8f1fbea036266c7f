"""Whatever a note, a checkpoint, a key or a policy holds, it is read as it was written, or refused in one sentence.

What is read is read alike by the second implementation. No bytes but ours have a signature by our keys.
"""

import sys

from pcgrelay.audit.checkpoint import Checkpoint, CheckpointRefused
from pcgrelay.audit.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    Note,
    NoteRefused,
    NoteSigner,
    NoteVerifier,
    read_signatures,
    sign_note,
    verify_note,
)
from pcgrelay.audit.policy import parse_policy
from pcgrelay.errors import ConfigError
from tests.reference import notes
from tests.support.vectors import load

VECTORS = load("audit_note")
SIGNERS = [
    NoteSigner.generate("log.example/a", ED25519),
    NoteSigner.generate("log.example/a", COSIGNATURE_ML_DSA_44),
    NoteSigner.generate("w.example/1", COSIGNATURE_ED25519),
]
KEYS = [each.verifier for each in SIGNERS]
TEXTS = [
    Checkpoint("log.example/a", 20_852_163, bytes(range(32))).text,
    Checkpoint("log.example/a", 0, bytes(32), ("extension", "more")).text,
]
OURS = [sign_note(text, SIGNERS, 1_793_664_000) for text in TEXTS]
POLICY = (
    "".join(f"log {key.vkey}\n" for key in KEYS[:2]) + f"witness w {KEYS[2].vkey} https://w.example\ngroup g any w\n"
    "# quorum\nquorum g\n"
).encode()
SEEDS = [*(note.encoded for note in OURS), VECTORS["note"].encode(), POLICY, *(key.vkey.encode() for key in KEYS)]
WORDS = [
    "\u2014 ".encode(), b"\n\n", b"\n", b" ", b"+", b"=", b"\xc2\xa0", b"\xe2\x80\xa8", b"\xff", b"\r", b"\0",
    b"1099511627776",
    b"9223372036854775808", b"-1", b"00", b"group ", b"witness ", b"log ", b"quorum ", b"none", b"all", b"any",
    OURS[0].signatures[0].line.encode(), b"AAAAAAA=", b"A" * 3_000, b"\n" * 3_000,
]  # fmt: skip


def run(data: bytes) -> object:
    return note_answer(data), policy_answer(data), key_answer(data)


def note_answer(data: bytes) -> object:
    try:
        note = Note.parse(data)
    except NoteRefused as refusal:
        assert_one_sentence(refusal)
        return str(refusal)
    assert note.encoded == data
    assert notes.parsed(data) == (note.text, [(each.name, each.key_id + each.value) for each in note.signatures])
    assert read_signatures("".join(each.line for each in note.signatures)) == note.signatures
    try:
        checkpoint = Checkpoint.parse(note.text)
        assert checkpoint.text == note.text
        answer = f"{len(checkpoint.extensions)} {len(note.signatures)}"
    except CheckpointRefused as refusal:
        assert_one_sentence(refusal)
        answer = str(refusal)
    try:
        found = verify_note(note, KEYS)
    except NoteRefused as refusal:
        return answer, str(refusal)[-60:]
    kinds = {each.by.kind for each in found}
    # The statement of ML-DSA-44 has no place for what stands after the root.
    lines = 3 if kinds == {COSIGNATURE_ML_DSA_44} else None
    assert any(note.text.split("\n")[:lines] == text.split("\n")[:lines] for text in TEXTS), note.text
    return answer, len(found)


def policy_answer(data: bytes) -> str:
    try:
        policy = parse_policy(data, "policy")
    except ConfigError as error:
        assert_one_sentence(error)
        return str(error).partition(": ")[2][:60]
    policy.is_met([])
    return f"{len(policy.logs)} {len(policy.witnesses)} {len(policy.groups)}"


def key_answer(data: bytes) -> str:
    text = data.decode(errors="surrogateescape")
    try:
        key = NoteVerifier.parse(text)
    except NoteRefused as refusal:
        assert_one_sentence(refusal)
        return str(refusal)[:20]
    assert key.vkey == text
    return str(key.kind)


def assert_one_sentence(error: Exception) -> None:
    assert len(str(error)) < 2_000, "a refusal is one sentence, whatever the input"


if __name__ == "__main__":
    from tests.fuzz.mutation import main

    sys.exit(main(SEEDS, WORDS, run))
