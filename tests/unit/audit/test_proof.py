"""Proofs, C2SP tlog-proof: what is proved can be checked without the log, and nothing else is accepted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from pcgrelay.audit.history import HISTORY, history_line
from pcgrelay.audit.note import Note
from pcgrelay.audit.policy import Policy, parse_policy
from pcgrelay.audit.proof import HEAD, PROOF_MOST_BYTES, Proof, ProofRefused, check, prove
from pcgrelay.errors import ProofProblem
from tests.support.audit_logs import ORIGIN, AuditLog, make_log, stream_end

# https://c2sp.org/tlog-proof, its example; the signatures that it leaves out are replaced by short ones.
EXAMPLE = (
    "c2sp.org/tlog-proof@v1\n"
    "extra YWdlLXYxLjIuMS1kYXJ3aW4tYXJtNjQudGFyLmd6a2Fyd2luLWFy\n"
    "index 73894\n"
    "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n"
    "B95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n"
    "EKNzoDWG8LGC0Yp9o+sv3qllpMP9uHQ9B20KNL+Q1zs=\n"
    "RoopEkOdqkYqMB4MJXrbt/hMjOxsVn0IrWjpz1ZMMes=\n"
    "AHCioX9nLjsrse6YhjRRmk1WUEirVOLLRoOQ6vfO5vk=\n"
    "\n"
    "example.com/fancylog\n"
    "109482\n"
    "sFodV/vSp5O8n9a8QpW6PRY97tfOSW5bsc2Xl/EQi08=\n"
    "\n"
    "\u2014 example.com/fancylog hI2DJ1roloI=\n"
    "\u2014 witness1.example mJirIklj9Y2Bbg==\n"
).encode()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    return make_log(tmp_path_factory.mktemp("made") / "audit")


@pytest.fixture(scope="module")
def policy(made: AuditLog) -> Policy:
    return parse_policy(made.policy.encode(), "policy")


def test_the_example_of_the_specification_is_read_and_written() -> None:
    proof = Proof.parse(EXAMPLE)
    assert proof.index == 73_894
    assert len(proof.hashes) == 5
    assert proof.record.startswith(b"age-v1.2.1-darwin-arm64.tar.gz")
    assert proof.note.text.startswith("example.com/fancylog\n109482\n")
    assert proof.encoded == EXAMPLE
    bare = structs.replace(proof, extra=None)
    assert Proof.parse(bare.encoded) == bare
    with pytest.raises(ProofRefused, match="no record"):
        assert bare.record


@pytest.mark.parametrize("number", [0, 255, 256, 1_234, 2_799])
def test_a_record_is_proved_to_whoever_has_the_policy(made: AuditLog, policy: Policy, number: int) -> None:
    checked = check(Proof.parse(prove(made.folder, number).encoded), policy)
    assert (checked.index, checked.record) == (number, stream_end(number))
    assert (checked.checkpoint.origin, checked.checkpoint.size) == (ORIGIN, 2_800)
    assert (len(checked.signed), len(checked.witnessed)) == (2, 1)


def test_nothing_else_is_accepted(made: AuditLog, policy: Policy) -> None:
    good = prove(made.folder, 1_234)
    assert good.extra is not None
    other = AuditLog(made.folder.parent / "other")
    other.grow(9)
    other.sign(is_witnessed=True)
    for wrong in (
        structs.replace(good, index=1_235),
        structs.replace(good, index=1 << 40),
        structs.replace(good, hashes=good.hashes[1:]),
        structs.replace(good, hashes=(*good.hashes, bytes(32))),
        structs.replace(good, extra=good.extra.replace(b"closed", b"opened")),
        structs.replace(good, extra=None),
        structs.replace(good, note=prove(made.folder, 5).note, index=5),
        structs.replace(good, note=Note(good.note.text.replace("2800", "2799"), good.note.signatures)),
        structs.replace(good, note=Note(good.note.text, good.note.signatures[:2])),  # nobody has witnessed it
        structs.replace(good, note=Note(good.note.text, good.note.signatures[2:])),  # the log has not signed it
        prove(other.folder, 5),  # the same name, and other keys
    ):
        with pytest.raises(ProofProblem):
            check(wrong, policy)


def test_each_bit_of_a_proof_matters(made: AuditLog, policy: Policy) -> None:
    proof = prove(made.folder, 700).encoded
    # In the signatures a bit may make one of an unknown key, beside another of the log that holds.
    end = proof.index("\u2014 ".encode())
    for bit in range(0, 8 * end, 7):
        data = bytearray(proof)
        data[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ProofProblem):
            check(Proof.parse(bytes(data)), policy)


def test_another_log_is_refused_by_its_name(made: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "audit", origin=ORIGIN.replace("kent-1", "kent-2"))
    with pytest.raises(ProofRefused, match=r"has no log .*kent-1"):
        check(prove(made.folder, 5), parse_policy(other.policy.encode(), "policy"))


def test_a_proof_has_the_signatures_of_witnesses_that_came_later(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit")
    log.grow(50)
    note = log.sign()
    with (log.folder / HISTORY).open("ab") as sink:
        sink.write(history_line("2026-11-03T00:00:00.000Z", Note(note.text, (log.witness.sign(note.text, 5),))))
    log.grow(5)
    log.sign()
    checked = check(prove(log.folder, 7), parse_policy(log.policy.encode(), "policy"))
    assert (checked.checkpoint.size, len(checked.signed), len(checked.witnessed)) == (50, 2, 1)


def test_what_is_not_signed_or_not_there_is_not_proved(made: AuditLog, tmp_path: Path) -> None:
    with pytest.raises(ProofProblem, match="no head that was signed yet"):
        prove(made.folder, 2_800)
    folder = Path(shutil.copytree(made.folder, tmp_path / "audit"))
    (folder / "log" / "000000000000.jsonl").unlink()
    with pytest.raises(ProofProblem, match="begin at 1,000"):
        prove(folder, 5)
    path = folder / "log" / "000000001000.jsonl"
    path.write_bytes(path.read_bytes().replace(b"closed", b"opened", 1))
    with pytest.raises(ProofProblem, match="audit verify"):
        prove(folder, 1_000)
    prove(folder, 1_001)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        EXAMPLE.replace(b"@v1", b"@v2"),
        EXAMPLE.replace(b"extra YWdl", b"extra YWd"),
        EXAMPLE.replace(b"index 73894", b"index 073894"),
        EXAMPLE.replace(b"index 73894", b"index -1"),
        EXAMPLE.replace(b"index 73894", b"index 9223372036854775808"),
        EXAMPLE.replace(b"index 73894\n", b""),
        EXAMPLE.replace(b"gSKy", b"gSK"),
        EXAMPLE.replace(b"\n\nexample", b"\nexample"),
        EXAMPLE.replace(b"gSKy", "gSKé".encode()),
        EXAMPLE.replace(b"\n", b"\r\n"),
        HEAD.encode() + b"\nindex 5\n" + b"gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n" * 64 + b"\no\n5\n",
        b"x" * (PROOF_MOST_BYTES + 1),
    ],
    ids=lambda data: repr(data[:40]),
)
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(ProofRefused):
        Proof.parse(data)


@given(at=st.integers(0, len(EXAMPLE)), junk=st.binary(max_size=5))
def test_whatever_is_read_is_written_as_it_was(at: int, junk: bytes) -> None:
    data = EXAMPLE[:at] + junk + EXAMPLE[at:]
    try:
        proof = Proof.parse(data)
    except ProofRefused:
        return
    assert proof.encoded == data
