"""ssh-keygen and a second implementation of its signatures agree: on what each makes, and on what is spoilt."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pcgrelay.clock import SYSTEM_CLOCK
from pcgrelay.policy.signatures import CHANGE_NAMESPACE, PLAN_NAMESPACE, Signature, verify
from pcgrelay.policy.signers import parse_signers
from tests.reference import sshsig
from tests.support.signing import Person

TEXT = b"pcgrelay change, version 1\nnode      kent-1.kent.police.example, realm police.example\n"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.fixture(scope="module")
def jones(tmp_path_factory: pytest.TempPathFactory) -> Person:
    """A person with a key that is known, as ssh-keygen keeps it."""
    key = tmp_path_factory.mktemp("keys") / "a.jones"
    key.write_bytes(SECRET.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    key.chmod(0o600)
    public = SECRET.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    key.with_name("a.jones.pub").write_bytes(public + b"\n")
    return Person("a.jones@kent.police.example", key)


def is_good(jones: Person, data: bytes, text: bytes = TEXT) -> bool:
    """What ssh-keygen says, asked as a node asks it."""
    signers = jones.line().encode()
    listed = signers, parse_signers(signers, Path("signers"))
    return bool(
        verify(text, (Signature(jones.address, data),), CHANGE_NAMESPACE, listed, b"", SYSTEM_CLOCK.wall()).good
    )


def agreed(jones: Person, data: bytes, text: bytes = TEXT) -> bool:
    """What both say."""
    told = is_good(jones, data, text)
    assert sshsig.is_good(PUBLIC, text, data, CHANGE_NAMESPACE) is told, data
    return told


def test_both_make_the_same_bytes(jones: Person) -> None:
    assert jones.sign(TEXT) == sshsig.sign(SECRET, TEXT, CHANGE_NAMESPACE)


@pytest.mark.parametrize("hash_name", [b"sha256", b"sha512"])
@pytest.mark.parametrize("text", [TEXT, b"", b"\n" * 65_536])
def test_each_takes_what_the_other_makes(jones: Person, hash_name: bytes, text: bytes) -> None:
    assert agreed(jones, sshsig.sign(SECRET, text, CHANGE_NAMESPACE, hash_name), text)
    assert agreed(jones, jones.sign(text), text)


def test_neither_takes_what_is_about_something_else(jones: Person) -> None:
    assert not agreed(jones, sshsig.sign(SECRET, TEXT, CHANGE_NAMESPACE), TEXT + b"\n")
    assert not agreed(jones, jones.sign(TEXT, PLAN_NAMESPACE))
    assert not agreed(jones, sshsig.sign(SECRET, TEXT, PLAN_NAMESPACE))
    assert not agreed(jones, sshsig.sign(Ed25519PrivateKey.from_private_bytes(bytes(32)), TEXT, CHANGE_NAMESPACE))


def test_neither_takes_one_of_which_any_byte_was_changed(jones: Person) -> None:
    body = jones.sign(TEXT).splitlines()[1:-1]
    data = base64.b64decode(b"".join(body))
    assert agreed(jones, sshsig.armour(data))
    for at in range(len(data)):
        spoilt = bytes([*data[:at], data[at] ^ 1 << at % 8, *data[at + 1 :]])
        assert not agreed(jones, sshsig.armour(spoilt)), at


@pytest.mark.parametrize("size", [0, 6, 10, 60, -1])
def test_neither_takes_one_that_is_cut_short_or_goes_on(jones: Person, size: int) -> None:
    data = base64.b64decode(b"".join(jones.sign(TEXT).splitlines()[1:-1]))
    assert not agreed(jones, sshsig.armour(data[:size]))
    assert not agreed(jones, sshsig.armour(data + b"\0"))
    assert not agreed(jones, sshsig.armour(data + sshsig.string(b"more")))


def test_what_was_signed_with_another_form(jones: Person) -> None:
    purpose = CHANGE_NAMESPACE.encode()
    over = SECRET.sign(sshsig.statement(TEXT, purpose, b"sha512", b"x"))
    assert not agreed(jones, sshsig.armour(sshsig.blob(PUBLIC, purpose, b"sha512", over, b"x")))
    plain = SECRET.sign(TEXT)
    assert not agreed(jones, sshsig.armour(sshsig.blob(PUBLIC, purpose, b"sha512", plain)))
    weak = SECRET.sign(sshsig.statement(TEXT, purpose, b"sha512"))
    assert not agreed(jones, sshsig.armour(sshsig.blob(PUBLIC, purpose, b"sha1", weak)))
    assert not agreed(jones, sshsig.armour(sshsig.blob(PUBLIC, purpose, b"sha256", weak)))
