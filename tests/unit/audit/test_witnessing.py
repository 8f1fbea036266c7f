"""What a witness judges, by the vectors of the protocol and beyond them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from pcgrelay.audit.checkpoint import Checkpoint
from pcgrelay.audit.history import SignedHead, read_history
from pcgrelay.audit.keys import public_keys
from pcgrelay.audit.note import Note, read_signatures
from pcgrelay.audit.tree import verify_consistency
from pcgrelay.audit.witnessing import Known, Verdict, head_signed, judge, parse_request, proof_from, request_body
from pcgrelay.errors import ProofProblem
from pcgrelay.messages import MessageReader, Witness, encode_message
from tests.support.audit_logs import make_log
from tests.support.vectors import load, octets

VECTORS = load("witness")
KEYS = public_keys(VECTORS["origin"], VECTORS["vkeys"])
ANSWERS = {
    "cosigned": Verdict.COSIGN,
    "size": Verdict.SIZE,
    "conflict": Verdict.CONFLICT,
    "refused": Verdict.REFUSED,
}


@pytest.mark.parametrize("old", [0, 1, 255, 256, 300, 700, 1_400])
def test_a_node_sends_the_proof_that_it_has_verified(tmp_path: Path, old: int) -> None:
    log = make_log(tmp_path / "audit", 1_400, 700)
    head = Checkpoint.parse(log.head().text)
    root, proof = proof_from(log.folder, old, head)
    verify_consistency(old, root, head.size, head.root, proof)
    if old == 700:
        (first, *_) = (each for each in read_history(log.folder) if isinstance(each, SignedHead))
        assert root == first.checkpoint.root


@pytest.mark.parametrize("damage", [b"", b"short", bytes(8_192), b"x" * 8_192])
def test_a_damaged_tile_is_no_sign_of_another_history(tmp_path: Path, damage: bytes) -> None:
    """A witness would take the proof of such a tile for that of another history, and tell of it for ever."""
    log = make_log(tmp_path / "audit", 1_400, 700)
    head = Checkpoint.parse(log.head().text)
    (log.folder / "tile" / "0" / "002").write_bytes(damage)
    with pytest.raises(ProofProblem):
        proof_from(log.folder, 700, head)
    # What does not need that tile is proved as before.
    proof_from(log.folder, 256, head)


# https://c2sp.org/tlog-witness, add-checkpoint: its example of a request, and of an answer.
EXAMPLE = (
    "old 20852014\n"
    "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n"
    "jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n"
    "5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n"
    "/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n"
    "\n"
    "example.com/behind-the-sofa\n"
    "20852163\n"
    "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    "\n"
    "\u2014 example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "\u2014 example.com/behind-the-sofa "
    "opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n"
).encode()
ANSWER = (
    "\u2014 witness.example/w1 "
    "CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0"
    "pWh6Up69HVOw==\n"
    "\u2014 witness.example/w1 "
    "I7rEps0pvK2UqkS2gSpVUDhrhVtQV9lgF6pRrWAvjJHjyWpW7VcE3SiOlVlbQNt64vWhO+DlkL0+UfzuOBMh9ChdMk"
    "P1vi/lCAsmlw==\n"
    "\u2014 witness.example/w2 "
    "AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rX"
    "XvpysAdyP3wQ==\n"
)


def test_the_examples_of_the_specification_are_read_and_written() -> None:
    request = parse_request(EXAMPLE)
    assert (request.old, request.head.size, len(request.proof)) == (20_852_014, 20_852_163, 4)
    assert request.head.origin == "example.com/behind-the-sofa"
    assert len(request.note.signatures) == 2
    assert request_body(request.old, request.proof, request.note) == EXAMPLE
    signatures = read_signatures(ANSWER)
    assert [each.name for each in signatures] == ["witness.example/w1", "witness.example/w1", "witness.example/w2"]
    # Type 0x04: a time, and a signature of Ed25519.
    assert {len(each.value) for each in signatures} == {8 + 64}
    assert "".join(each.line for each in signatures) == ANSWER


@pytest.mark.parametrize("name", ["steps", "forked"])
def test_requests_in_turn(name: str) -> None:
    known = Known(origin=VECTORS["origin"], keys=tuple(VECTORS["vkeys"]))
    for step in VECTORS[name]:
        request = parse_request(octets(step["body"]))
        assert judge(known, request, KEYS) is ANSWERS[step["answer"]], step["name"]
        if step["answer"] == "cosigned":
            known = structs.replace(known, size=request.head.size, note=request.note.encoded.decode())
        assert known.size == step["known"]
        # What was parsed is written as it was.
        assert request_body(request.old, request.proof, request.note) == octets(step["body"])


def test_the_message_and_the_statement() -> None:
    body = octets(VECTORS["steps"][0]["body"])
    wire = octets(VECTORS["wire"])
    assert [message for message, _ in MessageReader().feed(wire)] == [Witness(1, body)]
    assert encode_message(Witness(1, body)) == wire
    assert KEYS.statement.decode() == VECTORS["statement"]


def test_a_request_that_is_none_is_refused_and_nothing_else_is_raised() -> None:
    bodies = [octets(step["body"]) for step in VECTORS["steps"]]
    chance = random.Random(13)
    for _ in range(3_000):
        data = bytearray(chance.choice(bodies))
        for _ in range(chance.randrange(1, 4)):
            at = chance.randrange(len(data))
            if chance.random() < 0.5:
                data[at] = chance.randrange(256)
            else:
                del data[at : at + chance.randrange(40)]
        try:
            request = parse_request(bytes(data))
        except ProofProblem:
            continue
        judge(Known(origin="x", keys=("", "", "")), request, KEYS)


@pytest.mark.parametrize(
    "body", [b"", b"old 1\n\n", b"old 01\n\nx", b"old -1\n\nx", b"new 1\n\nx", b"\xff\n\nx", b"old 1\n" * 70 + b"\n\nx"]
)
def test_these_are_no_requests(body: bytes) -> None:
    with pytest.raises(ProofProblem):
        parse_request(body)


def test_only_what_this_log_has_signed_proves_anything() -> None:
    note = parse_request(octets(VECTORS["steps"][0]["body"])).note
    head = head_signed(note, KEYS)
    assert head is not None
    assert head.size == 7
    foreign = parse_request(octets(VECTORS["steps"][7]["body"])).note
    assert head_signed(foreign, KEYS) is None
    assert head_signed(Note(note.text.replace("7", "9", 1), note.signatures), KEYS) is None


def test_the_largest_request_fits_its_message() -> None:
    request = parse_request(octets(VECTORS["steps"][0]["body"]))
    longest: Any = Note(request.note.text, request.note.signatures)
    body = request_body(2**62, [bytes(32)] * 63, longest)
    # And an ML-DSA-44 signature, 2,420 bytes in base64, beside it.
    assert len(body) + 3_400 < 12_288
