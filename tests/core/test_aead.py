"""One key in one direction: what it seals, what it refuses to seal twice, and what it does not open."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.native.probe import Key, Refusal

KEYS = {1: bytes(range(32)), 2: bytes(range(16)), 3: bytes(range(32))}
OTHERS = {1: AESGCM, 2: AESGCM, 3: ChaCha20Poly1305}
SUITES = pytest.mark.parametrize("suite", KEYS)
IV = bytes(range(100, 112))


def pair(suite: int) -> tuple[Key, Key]:
    return Key(suite, KEYS[suite], IV, sealing=True), Key(suite, KEYS[suite], IV, sealing=False)


def refusal_of(act: object, *arguments: object) -> str:
    assert callable(act)
    with pytest.raises(Refusal) as refused:
        act(*arguments)
    return refused.value.reason


@SUITES
@given(counter=st.integers(0, (1 << 64) - 2), associated=st.binary(max_size=64), clear=st.binary(max_size=300))
def test_it_seals_as_another_library_does(suite: int, counter: int, associated: bytes, clear: bytes) -> None:
    sealer, opener = pair(suite)
    tag, sealed = sealer.seal(counter, associated, clear)
    nonce = bytes(a ^ b for a, b in zip(IV, bytes(4) + counter.to_bytes(8, "big"), strict=True))
    assert sealed + tag == OTHERS[suite](KEYS[suite]).encrypt(nonce, clear, associated)
    assert opener.open(counter, associated, tag, sealed) == clear


@SUITES
def test_a_body_of_the_greatest_size(suite: int) -> None:
    sealer, opener = pair(suite)
    clear = bytes(range(256)) * 256
    tag, sealed = sealer.seal(0, b"", clear)
    assert opener.open(0, b"", tag, sealed) == clear


@SUITES
def test_every_bit_counts(suite: int) -> None:
    sealer, opener = pair(suite)
    associated, clear = b"associated", b"clear text"
    tag, sealed = sealer.seal(5, associated, clear)
    for place, data in enumerate((associated, tag, sealed)):
        for bit in range(8 * len(data)):
            parts = [associated, tag, sealed]
            parts[place] = flipped(data, bit)
            assert refusal_of(opener.open, 5, *parts) == "BAD_TAG"
    for counter in (0, 4, 6, 5 + (1 << 32)):
        assert refusal_of(opener.open, counter, associated, tag, sealed) == "BAD_TAG"
    # A refusal leaves the key as it was.
    assert opener.open(5, associated, tag, sealed) == clear


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@SUITES
def test_a_counter_seals_once(suite: int) -> None:
    sealer, _ = pair(suite)
    sealer.seal(3, b"", b"first")
    assert sealer.floor == 4
    for counter in (3, 2, 0):
        assert refusal_of(sealer.seal, counter, b"", b"other") == "NONCE"
    assert sealer.floor == 4
    sealer.seal(4, b"", b"next")
    sealer.seal(1 << 40, b"", b"far ahead")
    assert refusal_of(sealer.seal, 5, b"", b"passed over") == "NONCE"


@SUITES
def test_no_counter_is_left_at_the_end(suite: int) -> None:
    sealer, _ = pair(suite)
    sealer.seal((1 << 64) - 2, b"", b"last")
    assert refusal_of(sealer.seal, (1 << 64) - 1, b"", b"none left") == "NONCE"


@SUITES
def test_a_key_has_one_direction(suite: int) -> None:
    sealer, opener = pair(suite)
    tag, sealed = sealer.seal(0, b"", b"clear")
    assert refusal_of(opener.seal, 1, b"", b"clear") == "NONCE"
    assert refusal_of(sealer.open, 0, b"", tag, sealed) == "BAD_TAG"


@SUITES
def test_a_wiped_key_is_none(suite: int) -> None:
    sealer, opener = pair(suite)
    tag, sealed = sealer.seal(0, b"", b"clear")
    for key in (sealer, opener):
        key.wipe()
        key.wipe()
        assert not key.is_there
    assert refusal_of(sealer.seal, 1, b"", b"clear") == "NONCE"
    assert refusal_of(opener.open, 0, b"", tag, sealed) == "BAD_TAG"


@pytest.mark.parametrize("suite", [0, 4, 255])
def test_an_unknown_suite_is_refused(suite: int) -> None:
    with pytest.raises(Refusal, match="CRYPTO"):
        Key(suite, bytes(32), bytes(12), sealing=True)
