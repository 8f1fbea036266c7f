"""Known answers of the core: they come out right, and the vectors in the source are those of other implementations."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from pcgrelay._core.face.answers import known_answers
from tests.reference.keys import expand

SOURCE = Path(__file__).resolve().parents[2] / "src" / "_core" / "crypto" / "known_answers.pyx"


def vectors() -> dict[str, bytes]:
    found = re.findall(r"cdef const char\* (\w+) = \(\n((?:    b\"[^\n]*\"\n)+)\)", SOURCE.read_text())
    return {name: bytes.fromhex("".join(re.findall(r"\\x([0-9a-f]{2})", lines))) for name, lines in found}


def test_every_answer_is_right() -> None:
    assert known_answers() == dict.fromkeys(("AES-256-GCM", "AES-128-GCM", "CHACHA20-POLY1305", "HKDF-SHA256"), True)


def test_the_vectors_are_those_of_another_implementation() -> None:
    v = vectors()
    for name, key in (("GCM_128_SEALED", v["GCM_KEY"][:16]), ("GCM_256_SEALED", v["GCM_KEY"])):
        assert AESGCM(key).encrypt(v["GCM_IV"], v["GCM_CLEAR"], v["GCM_AAD"]) == v[name]
    sealed = ChaCha20Poly1305(v["CHACHA_KEY"]).encrypt(v["CHACHA_IV"], v["CHACHA_CLEAR"], v["CHACHA_AAD"])
    assert sealed == v["CHACHA_SEALED"]
    assert expand(v["SECRET"], "known answer", b"", 32) == v["EXPANDED"]


def test_no_vector_is_longer_than_there_is_room_for() -> None:
    text, v = SOURCE.read_text(), vectors()
    assert len(v["CHACHA_CLEAR"]) == int(re.search(r"CHACHA_CLEAR, (\d+)", text)[1])  # type: ignore[index]
    assert {int(n) for n in re.findall(r"GCM_CLEAR, (\d+)", text)} == {len(v["GCM_CLEAR"])}
    assert (len(v["GCM_AAD"]), len(v["CHACHA_AAD"]), len(v["SECRET"])) == (20, 12, 32)
