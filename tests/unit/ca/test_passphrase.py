"""The CA's key under a passphrase: other tools read it, and nothing is signed without it."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pcgrelay.ca import Authority
from pcgrelay.ca.certificates import make_key
from pcgrelay.ca.passphrase import LEAST_CHARACTERS, MOST_BYTES, ROUNDS, protected_pem
from pcgrelay.errors import ConfigError, UsageProblem

WORD = b"correct horse battery"


def test_openssl_reads_the_key_and_sees_its_rounds(tmp_path: Path) -> None:
    key = make_key()
    (tmp_path / "key").write_bytes(protected_pem(key, WORD))
    (tmp_path / "word").write_bytes(WORD + b"\n")
    read = ["openssl", "pkey", "-in", tmp_path / "key", "-passin", f"file:{tmp_path / 'word'}", "-text", "-noout"]
    assert b"prime256v1" in subprocess.run(read, capture_output=True, check=True).stdout
    seen = subprocess.run(
        ["openssl", "asn1parse", "-in", tmp_path / "key"], capture_output=True, text=True, check=True
    ).stdout
    assert f":{ROUNDS:06X}" in seen
    for word in ("PBES2", "PBKDF2", "hmacWithSHA256", "aes-256-cbc"):
        assert f":{word}" in seen
    assert load_pem_private_key(protected_pem(key, WORD, 10), WORD).private_numbers() == key.private_numbers()  # type: ignore[union-attr]


def test_two_of_one_key_have_nothing_in_common() -> None:
    key = make_key()
    first, second = (protected_pem(key, WORD, 10).splitlines()[2:-1] for _ in range(2))
    assert not set(first) & set(second)


@pytest.mark.parametrize(
    ("word", "why"), [(b"", "shorter"), (b"x" * (LEAST_CHARACTERS - 1), "shorter"), (b"x" * (MOST_BYTES + 1), "longer")]
)
def test_a_passphrase_that_protects_nothing_is_refused(tmp_path: Path, word: bytes, why: str) -> None:
    with pytest.raises(UsageProblem, match=why):
        Authority.create(tmp_path / "ca", "police.example", passphrase=word)
    assert not (tmp_path / "ca").exists()


def test_it_is_asked_for_once_and_only_to_sign(tmp_path: Path) -> None:
    Authority.create(tmp_path / "ca", "police.example", passphrase=WORD)
    asked: list[int] = []

    def ask() -> bytes:
        asked.append(1)
        return WORD

    authority = Authority(tmp_path / "ca", passphrase=ask)
    assert authority.issued() == []
    assert not asked
    authority.issue("kent.example", "kent-1", tmp_path / "out")
    authority.revoke("kent.example", "kent-1")
    assert len(asked) == 1


def test_without_it_or_with_another_nothing_is_signed(tmp_path: Path) -> None:
    Authority.create(tmp_path / "ca", "police.example", passphrase=WORD)
    before = (tmp_path / "ca/index.json").read_bytes()
    for passphrase, why in ((None, "under a password"), (lambda: b"another passphrase", "not the passphrase")):
        authority = Authority(tmp_path / "ca", passphrase=passphrase)
        with pytest.raises(ConfigError, match=why):
            authority.issue("kent.example", "kent-1", tmp_path / "out")
        with pytest.raises(ConfigError, match=why):
            authority.renew_crl()
    assert (tmp_path / "ca/index.json").read_bytes() == before
    assert not (tmp_path / "out").exists()
