"""The tree and the notes against the second implementation, and against what others have published."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    Note,
    NoteRefused,
    NoteSigner,
    NoteVerifier,
    sign_note,
    verify_note,
)
from pcgrelay.audit.tree import (
    RightEdge,
    TreeRefused,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.reference import notes, trees
from tests.support.vectors import load, octets

# github.com/FiloSottile/torchwood, cmd/litewitness/testdata/mldsa.txt.
PUBLISHED = Path(__file__).parent / "published" / "ml_dsa_44.json"
TREE, NOTE = load("audit_tree"), load("audit_note")
LEAVES = [leaf_hash(record.encode()) for record in TREE["records"]]
ROOTS = {each["size"]: octets(each["root"]) for each in TREE["roots"]}


def read(level: int, index: int) -> bytes:
    return trees.root(LEAVES[index << level : (index + 1) << level])


@pytest.mark.parametrize("size", ROOTS)
def test_roots(size: int) -> None:
    edge = RightEdge()
    edge.extend(LEAVES[:size])
    assert edge.root() == ROOTS[size]


@pytest.mark.parametrize("case", TREE["inclusion"], ids=lambda case: f"{case['index']} of {case['size']}")
def test_proofs_of_inclusion(case: dict[str, int | list[str]]) -> None:
    index, size, proof = case["index"], case["size"], case["proof"]
    assert isinstance(index, int)
    assert isinstance(size, int)
    assert isinstance(proof, list)
    hashes = [octets(each) for each in proof]
    assert inclusion_proof(index, size, read) == hashes
    verify_inclusion(LEAVES[index], index, size, hashes, ROOTS[size])
    assert trees.proves_inclusion(LEAVES[index], index, size, hashes, ROOTS[size])


@pytest.mark.parametrize("case", TREE["consistency"], ids=lambda case: f"{case['old']} to {case['new']}")
def test_proofs_of_consistency(case: dict[str, int | list[str]]) -> None:
    old, new, proof = case["old"], case["new"], case["proof"]
    assert isinstance(old, int)
    assert isinstance(new, int)
    assert isinstance(proof, list)
    hashes = [octets(each) for each in proof]
    assert consistency_proof(old, new, read) == hashes
    verify_consistency(old, ROOTS[old], new, ROOTS[new], hashes)
    assert trees.proves_consistency(old, ROOTS[old], new, ROOTS[new], hashes)


@given(st.data())
def test_both_say_the_same_of_any_proof(data: st.DataObject) -> None:
    new = data.draw(st.integers(0, 65))
    old = data.draw(st.integers(0, 66))
    choice = st.lists(st.sampled_from([*LEAVES[:4], *ROOTS.values()]), max_size=8)
    proof = data.draw(st.one_of(choice, st.just(trees.consistency(old, LEAVES[:new])) if old <= new else choice))
    old_root, new_root = trees.root(LEAVES[:old]), trees.root(LEAVES[:new])
    assert holds(lambda: verify_consistency(old, old_root, new, new_root, proof)) == trees.proves_consistency(
        old, old_root, new, new_root, proof
    )
    index = data.draw(st.integers(0, 66))
    proof = data.draw(st.one_of(choice, st.just(trees.inclusion(index, LEAVES[:new])) if index < new else choice))
    leaf = LEAVES[index] if index < len(LEAVES) else bytes(32)
    assert holds(lambda: verify_inclusion(leaf, index, new, proof, new_root)) == trees.proves_inclusion(
        leaf, index, new, proof, new_root
    )


def holds(verify: object) -> bool:
    assert callable(verify)
    try:
        verify()
    except TreeRefused:
        return False
    return True


KINDS = {"log": ED25519, "log_ml_dsa_44": COSIGNATURE_ML_DSA_44, "witness": COSIGNATURE_ED25519}


def signer(name: str) -> NoteSigner:
    key = NoteVerifier.parse(NOTE["keys"][name])
    seed = octets(NOTE["seeds"][name.partition("_")[0]])
    ml_dsa = name == "log_ml_dsa_44"
    private = MLDSA44PrivateKey.from_seed_bytes(seed) if ml_dsa else Ed25519PrivateKey.from_private_bytes(seed)
    return NoteSigner(key.name, key.kind, private)


def test_a_note_is_signed_as_the_reference_signs_it() -> None:
    made = sign_note(NOTE["text"], [signer("log"), signer("witness")], NOTE["time"])
    assert made.encoded.decode() == NOTE["note"]
    keys = [NoteVerifier.parse(vkey) for vkey in NOTE["keys"].values()]
    assert [each.by.kind for each in verify_note(Note.parse(NOTE["note"].encode()), keys)] == [0x01, 0x04]


@pytest.mark.parametrize("name", KINDS)
def test_what_is_signed_is_the_statement_of_the_specification(name: str) -> None:
    key, private = NoteVerifier.parse(NOTE["keys"][name]), signer(name)
    assert (key.kind, key.vkey, private.verifier) == (KINDS[name], NOTE["keys"][name], key)
    # A signature by the bare key over the statement is one that we accept, and ours is one that the reference accepts.
    bare = private._key.sign(octets(NOTE["statements"][name]))
    stamp = b"" if key.kind == ED25519 else NOTE["time"].to_bytes(8)
    assert key.verify(NOTE["text"], stamp + bare) == (0 if key.kind == ED25519 else NOTE["time"])
    made = private.sign(NOTE["text"], NOTE["time"])
    reference = notes.Key(key.name, key.kind, key.public)
    assert notes.holds(reference, NOTE["text"], made.key_id + made.value)
    assert not notes.holds(reference, NOTE["text"].replace("\n2\n", "\n3\n"), made.key_id + made.value)


@given(
    st.one_of(
        st.binary(max_size=200),
        st.text(alphabet="\u2014 \n+/=aA1", max_size=200).map(str.encode),
        st.tuples(
            st.integers(0, len(NOTE["note"])), st.sampled_from(["\n", " ", "+", "\u2014", "=", "\u00a0", "\t", ""])
        ).map(lambda cut: (NOTE["note"][: cut[0]] + cut[1] + NOTE["note"][cut[0] + 1 :]).encode()),
    )
)
def test_both_read_the_same_notes(data: bytes) -> None:
    try:
        note = Note.parse(data)
        ours = (note.text, [(each.name, each.key_id + each.value) for each in note.signatures])
    except NoteRefused:
        assert notes.parsed(data) is None
        return
    assert notes.parsed(data) == ours


# --- published by others -------------------------------------------------------------------------------------------


def test_the_note_of_the_go_module() -> None:
    """golang.org/x/mod, sumdb/note, note_test.go: the same key, text and signature."""
    seed = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
    peter = NoteSigner("PeterNeumann", ED25519, Ed25519PrivateKey.from_private_bytes(seed))
    assert peter.verifier.vkey == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    assert sign_note(text, [peter], 0).encoded.decode() == (
        text + "\n\u2014 PeterNeumann "
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    )


def test_a_checkpoint_of_the_go_checksum_database() -> None:
    """github.com/FiloSottile/torchwood, cmd/litewitness/testdata/sumdb.txt."""
    key = NoteVerifier.parse("sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8")
    note = Note.parse(
        (
            "go.sum database tree\n35225469\nvt5T6GaLCXvyHFl9VUvvItR43XZxfLgftEcTyO3eJCQ=\n\n"
            "\u2014 sum.golang.org "
            "Az3grpukl5AXaVfYkLiDGORx/DN2nlcS5kZHR5uYOBV2KA2HgXpD+gu9HHONebHLAyaKbbTM75QTtPydhKCExixSfwQ=\n"
        ).encode()
    )
    (found,) = verify_note(note, [key])
    assert found.by == key
    assert Checkpoint.parse(note.text).size == 35_225_469


def test_an_ml_dsa_44_signature_of_another_implementation() -> None:
    """A log whose checkpoint its own key of type 0x06 has signed, as a log of ours does; the time is 0 there."""
    published = json.loads(PUBLISHED.read_text())
    key = NoteVerifier.parse(published["vkey"])
    note = Note.parse(published["note"].encode())
    assert (key.name, key.kind, key.vkey) == ("example.com/mldsa-log", COSIGNATURE_ML_DSA_44, published["vkey"])
    (found,) = verify_note(note, [key])
    assert (found.by, found.time_s) == (key, published["time"])
    assert Checkpoint.parse(note.text).size == 1
    assert note.encoded.decode() == published["note"]
    (signature,) = note.signatures
    value = signature.key_id + signature.value
    assert notes.holds(notes.Key(key.name, key.kind, key.public), note.text, value)
    for changed in (note.text.replace("mldsa", "mldsb"), note.text.replace("\n1\n", "\n2\n")):
        with pytest.raises(NoteRefused, match="does not hold"):
            key.verify(changed, signature.value)


def test_a_sigsum_log_and_its_growth() -> None:
    """github.com/FiloSottile/torchwood, internal/witness/witness_test.go: signatures, and a proof from 1 to 5."""
    origin = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562"
    public = bytes.fromhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f")
    key = NoteVerifier(origin, ED25519, public)
    one = signed_by(
        key,
        f"{origin}\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
    )
    five = signed_by(
        key,
        f"{origin}\n5\nQrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=\n",
        "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
    )
    proof = [
        b64decode(each)
        for each in (
            "KgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=",
            "KgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        )
    ]
    verify_consistency(one.size, one.root, five.size, five.root, proof)
    with pytest.raises(TreeRefused):
        verify_consistency(one.size, five.root, five.size, five.root, proof)


def signed_by(key: NoteVerifier, text: str, value: str) -> Checkpoint:
    note = Note.parse(f"{text}\n\u2014 {key.name} {value}\n".encode())
    verify_note(note, [key])
    return Checkpoint.parse(note.text)
