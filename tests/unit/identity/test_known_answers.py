"""Known answers of the library that makes handshakes."""

from __future__ import annotations

import pytest

from pcgrelay.identity import known_answers


def test_every_answer_is_right() -> None:
    assert set(known_answers.session_answers().values()) == {True}


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("_GCM_256", "AES-256-GCM"),
        ("_GCM_128", "AES-128-GCM"),
        ("_CHACHA_TAG", "CHACHA20-POLY1305"),
        ("_HKDF_OUTPUT", "HKDF-SHA256"),
    ],
)
def test_a_wrong_answer_is_found(monkeypatch: pytest.MonkeyPatch, name: str, algorithm: str) -> None:
    vector = getattr(known_answers, name)
    monkeypatch.setattr(known_answers, name, bytes([vector[0] ^ 1]) + vector[1:])
    assert [each for each, right in known_answers.session_answers().items() if not right] == [algorithm]
