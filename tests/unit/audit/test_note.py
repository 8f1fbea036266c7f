"""Signed notes and checkpoints: the examples of the C2SP specifications, and whatever is not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.audit.checkpoint import Checkpoint, CheckpointRefused, base64_text, origin_of
from pcgrelay.audit.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    NOTE_MOST_BYTES,
    SIGNATURES_MOST,
    Note,
    NoteRefused,
    NoteSigner,
    NoteVerifier,
    Signature,
    read_signatures,
    sign_note,
    verify_note,
)

# https://c2sp.org/signed-note, section "Example".
VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
EXAMPLE = (
    "This is an example message.\n\n\u2014 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZ"
    "XsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
).encode()
# https://c2sp.org/signed-note, at its head: a text with an empty line in it.
POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "\u2014 quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
).encode()
# https://c2sp.org/tlog-cosignature, at its head: a checkpoint with a cosignature of type 0x04.
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+"
    "zyWE+xeMcTOAYQ8=\n"
    "\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0"
    "xUe+mbIUBkBIfZ+qnA==\n"
).encode()
ORIGIN = "pcgrelay.police.example/kent.police.example/kent-1"
CHECKPOINT = Checkpoint(ORIGIN, 8_841_274, bytes(range(32)))
KINDS = [ED25519, COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44]


def test_the_example_of_the_specification_holds_and_is_written_as_it_was_read() -> None:
    key = NoteVerifier.parse(VKEY)
    assert (key.vkey, key.kind) == (VKEY, ED25519)
    note = Note.parse(EXAMPLE)
    assert note.text == "This is an example message.\n"
    assert note.encoded == EXAMPLE
    (found,) = verify_note(note, [key])
    assert (found.by, found.time_s) == (key, 0)


def test_a_text_ends_at_the_last_empty_line() -> None:
    note = Note.parse(POEM)
    assert note.text.endswith("sole:\n\ned è subito sera.\n")
    assert [each.name for each in note.signatures] == ["quasimodo.example/salvatore"]
    assert note.encoded == POEM


def test_a_checkpoint_with_a_cosignature_is_read() -> None:
    note = Note.parse(SOFA)
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert base64_text(checkpoint.root) == "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
    assert checkpoint.text == note.text
    assert note.encoded == SOFA
    # The time of the cosignature is that of the example of a signed message in the specification.
    assert int.from_bytes(note.signatures[1].value[:8]) == 1_679_315_147


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_signed_holds_under_the_key_as_text(kind: int) -> None:
    signer = NoteSigner.generate(ORIGIN, kind)
    note = Note.parse(sign_note(CHECKPOINT.text, [signer], 1_790_000_000).encoded)
    key = NoteVerifier.parse(signer.verifier.vkey)
    (found,) = verify_note(note, [key])
    assert found.time_s == (0 if kind == ED25519 else 1_790_000_000)
    assert Checkpoint.parse(note.text) == CHECKPOINT


@pytest.mark.parametrize("kind", KINDS)
def test_one_changed_bit_of_the_text_or_the_signature_is_refused(kind: int) -> None:
    signer = NoteSigner.generate(ORIGIN, kind)
    note = sign_note(CHECKPOINT.text, [signer], 1_790_000_000)
    (signature,) = note.signatures
    for other in (
        Checkpoint(ORIGIN, 8_841_273, CHECKPOINT.root),
        Checkpoint(ORIGIN, 8_841_274, bytes(32)),
        Checkpoint(ORIGIN + "x", 8_841_274, CHECKPOINT.root),
    ):
        with pytest.raises(NoteRefused, match="does not hold"):
            verify_note(Note(other.text, note.signatures), [signer.verifier])
    for at in range(0, len(signature.value), 1 if kind == ED25519 else 97):
        value = bytearray(signature.value)
        value[at] ^= 4
        with pytest.raises(NoteRefused):
            verify_note(Note(note.text, (Signature(ORIGIN, signature.key_id, bytes(value)),)), [signer.verifier])
    for value in (b"", signature.value[:-1], signature.value + b"\0"):
        with pytest.raises(NoteRefused, match="length"):
            signer.verifier.verify(note.text, value)


def test_extension_lines_are_covered_by_ed25519_alone() -> None:
    signers = {kind: NoteSigner.generate(ORIGIN, kind) for kind in KINDS}
    text = Checkpoint(ORIGIN, 5, bytes(32), ("more",)).text
    for kind, signer in signers.items():
        signature = signer.sign(text, 7)
        changed = text.replace("more", "less")
        if kind == COSIGNATURE_ML_DSA_44:
            assert signer.verifier.verify(changed, signature.value) == 7
        else:
            with pytest.raises(NoteRefused):
                signer.verifier.verify(changed, signature.value)


def test_signatures_of_others_are_ignored_and_a_known_one_must_hold() -> None:
    ours, theirs = NoteSigner.generate(ORIGIN, ED25519), NoteSigner.generate(ORIGIN, ED25519)
    note = sign_note(CHECKPOINT.text, [theirs, ours], 0)
    assert [found.by for found in verify_note(note, [ours.verifier])] == [ours.verifier]
    with pytest.raises(NoteRefused, match="known"):
        verify_note(note, [])
    # The same name, and a number that another key happens to have: it is judged, and fails.
    forged = Note(note.text, (Signature(ORIGIN, ours.verifier.key_id, note.signatures[0].value), *note.signatures))
    with pytest.raises(NoteRefused, match="does not hold"):
        verify_note(forged, [ours.verifier])


def test_cosignatures_are_of_checkpoints_alone() -> None:
    for kind in (COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44):
        with pytest.raises(NoteRefused, match="checkpoints alone"):
            NoteSigner.generate(ORIGIN, kind).sign("hello\n", 5)
    late = bytes([0x80]) + bytes(7) + bytes(64)
    with pytest.raises(NoteRefused, match="time"):
        NoteSigner.generate(ORIGIN, COSIGNATURE_ED25519).verifier.verify(CHECKPOINT.text, late)


LINE = EXAMPLE.split(b"\n")[2]
NO_NOTES = [
    b"",
    b"\n\n",
    b"text\n",
    b"text\n\n",
    b"text\n\nno dash\n",
    b"text\n\n" + LINE,  # no newline
    b"text\n\n" + LINE + b"\n\n",
    b"text\n" + LINE + b"\n",
    b"te\txt\n\n" + LINE + b"\n",
    b"te\0xt\n\n" + LINE + b"\n",
    b"text\r\n\n" + LINE + b"\n",
    b"te\xffxt\n\n" + LINE + b"\n",
    b"text\n\n" + LINE.replace(b"=", b"") + b"\n",
    b"text\n\n" + LINE[:-2] + b"N=\n",  # bits that are left over
    b"text\n\n" + LINE.replace(b"Uw2Q", b"Uw 2Q") + b"\n",
    b"text\n\n" + LINE.replace(b"example.com/foo", b"exa+mple") + b"\n",
    b"text\n\n" + LINE.replace(b"example.com/foo", "exa\u00a0mple".encode()) + b"\n",
    b"text\n\n" + LINE.replace(b"example.com/foo", b"") + b"\n",
    b"text\n\n" + LINE.replace(b"example.com/foo", b"n" * 256) + b"\n",
    "text\n\n\u2014 n AAAAAA==\n".encode(),  # a key's number and no signature
    "text\n\n\u2013 n AAAAAAA=\n".encode(),  # another dash
    b"text\n\n" + (LINE + b"\n") * (SIGNATURES_MOST + 1),
    b"x" * NOTE_MOST_BYTES + EXAMPLE,
    b"x" * 10_000_000,
]


@pytest.mark.parametrize("data", NO_NOTES, ids=lambda data: repr(data[:24]))
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteRefused):
        Note.parse(data)


@given(st.one_of(st.binary(max_size=300), st.text(alphabet="\u2014 \n+/=ab", max_size=200).map(str.encode)))
def test_whatever_is_read_is_written_as_it_was(data: bytes) -> None:
    try:
        note = Note.parse(data)
    except NoteRefused:
        return
    assert note.encoded == data


NO_KEYS = [
    "", "+", "++", "a+b", "a+00000000+", VKEY[:-1], VKEY + "=", VKEY.replace("530d903a", "530d903b"),
    VKEY.replace("530d903a", "530D903A"), VKEY.replace("foo", "fooo"), VKEY.replace("+Ae", "+Be"),
    VKEY.replace("example", "exa mple"), VKEY + "+x", "n+00000000+" + base64_text(b"\x02" + bytes(32)),
    "x" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("vkey", NO_KEYS, ids=lambda vkey: vkey[:40])
def test_what_is_no_verifier_key_is_refused(vkey: str) -> None:
    with pytest.raises(NoteRefused):
        NoteVerifier.parse(vkey)


def test_a_key_makes_signatures_of_its_own_kind_alone() -> None:
    signer = NoteSigner.generate(ORIGIN, ED25519)
    with pytest.raises(NoteRefused):
        NoteSigner(ORIGIN, COSIGNATURE_ML_DSA_44, signer._key)
    with pytest.raises(NoteRefused):
        NoteVerifier(ORIGIN, 0x02, bytes(32))
    with pytest.raises(NoteRefused):
        NoteVerifier(ORIGIN, ED25519, bytes(31))
    with pytest.raises(NoteRefused):
        sign_note("no newline", [signer], 0)


def test_the_answer_of_a_witness_is_lines_alone() -> None:
    lines = "".join(NoteSigner.generate("w", COSIGNATURE_ED25519).sign(CHECKPOINT.text, 5).line for _ in range(2))
    assert len(read_signatures(lines)) == 2
    with pytest.raises(NoteRefused):
        read_signatures("")


ROOT = base64_text(bytes(32))
NO_CHECKPOINTS = [
    "", "\n", "o\n5\n", f"o\n5\n{ROOT}", f"\n5\n{ROOT}\n", f"o\n05\n{ROOT}\n", f"o\n-5\n{ROOT}\n", f"o\n+5\n{ROOT}\n",
    f"o\n 5\n{ROOT}\n", f"o\n٥\n{ROOT}\n", f"o\n{1 << 63}\n{ROOT}\n", f"o\n{'9' * 5_000}\n{ROOT}\n",
    f"o\n5\n{ROOT[:-1]}\n",
    f"o\n5\n{ROOT}\n\n", f"o\n5\n{ROOT}\n\nmore\n", f"o\n5\n{base64_text(bytes(31))}\n", f"{'o' * 256}\n5\n{ROOT}\n",
    f"o\n5\n{ROOT}\n" + "more\n" * 1_000, f"o\n5\n{ROOT[:-2]}B=\n",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_CHECKPOINTS, ids=lambda text: repr(text[:30]))
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(CheckpointRefused):
        Checkpoint.parse(text)


def test_the_smallest_and_the_largest_checkpoint() -> None:
    for size in (0, (1 << 63) - 1):
        checkpoint = Checkpoint("o", size, bytes(32))
        assert Checkpoint.parse(checkpoint.text) == checkpoint


def test_the_origin_names_realm_organisation_and_node() -> None:
    assert origin_of("police.example", "kent.police.example", "kent-1") == ORIGIN
    with pytest.raises(CheckpointRefused, match="255"):
        origin_of("a" * 120, "b" * 120, "c" * 60)
