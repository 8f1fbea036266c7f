"""Signatures of real keys, verified by the real ssh-keygen."""

from __future__ import annotations

import errno
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pcgrelay.errors import ConfigError, RunError
from pcgrelay.policy import signatures
from pcgrelay.policy.signatures import (
    CHANGE_NAMESPACE,
    PLAN_NAMESPACE,
    Bad,
    Flaw,
    Signature,
    Verified,
    find_signatures,
    read_revoked,
    sign,
    verify,
)
from pcgrelay.policy.signers import parse_signers
from tests.support.signing import NAMESPACES, Person, listed, make_people, revoke

TEXT = b"pcgrelay change, version 1\n"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Person]:
    return make_people(tmp_path_factory.mktemp("keys"), "a-jones", "b-khan", "c-lee")


def verified(
    people: list[Person], *given: Signature, text: bytes = TEXT, signers: str = "", revoked: bytes = b"",
    now: datetime = NOW,
) -> Verified:  # fmt: skip
    data = (signers or listed(people)).encode()
    return verify(text, given, CHANGE_NAMESPACE, (data, parse_signers(data, Path("s"))), revoked, now)


def flaw(answer: Verified) -> Flaw:
    assert answer.good == ()
    (bad,) = answer.bad
    return bad.flaw


def test_a_good_signature_has_its_person_and_key(people: list[Person]) -> None:
    answer = verified(people, *(each.signature(TEXT) for each in people))
    assert [each.principal for each in answer.good] == [each.address for each in people]
    assert len({each.fingerprint for each in answer.good}) == 3
    assert answer.bad == ()


def test_what_does_not_count_has_a_name(people: list[Person], tmp_path: Path) -> None:
    jones, khan, _ = people
    good = jones.signature(TEXT)
    assert flaw(verified(people, good, text=TEXT + b"x")) is Flaw.TEXT
    assert flaw(verified(people, jones.signature(TEXT, PLAN_NAMESPACE))) is Flaw.NAMESPACE
    assert flaw(verified(people, jones.signature(TEXT, "file"))) is Flaw.NAMESPACE
    assert flaw(verified(people, good, signers=jones.line(f'namespaces="{PLAN_NAMESPACE}"'))) is Flaw.NAMESPACE
    assert flaw(verified(people, good, signers=khan.line())) is Flaw.SIGNER
    assert flaw(verified(people, Signature(khan.address, good.data))) is Flaw.PRINCIPAL
    assert flaw(verified(people, Signature("*", good.data))) is Flaw.NAME
    assert flaw(verified(people, Signature("../x@y", good.data))) is Flaw.NAME
    assert flaw(verified(people, Signature(jones.address, b"nothing"))) is Flaw.FORM
    assert flaw(verified(people, Signature(jones.address, good.data + good.data))) is Flaw.FORM
    spoilt = good.data.replace(b"\n-----END", b"\n-----END", 1)
    middle = len(spoilt) - 60
    spoilt = spoilt[:middle] + (b"A" if spoilt[middle : middle + 1] != b"A" else b"B") + spoilt[middle + 1 :]
    assert flaw(verified(people, Signature(jones.address, spoilt))) in (Flaw.TEXT, Flaw.FORM)
    names = f'namespaces="{NAMESPACES}"'
    assert flaw(verified(people, good, signers=jones.line(f'{names},valid-before="20200101Z"'))) is Flaw.EXPIRED
    assert flaw(verified(people, good, signers=jones.line(f'{names},valid-after="20990101Z"'))) is Flaw.NOT_YET
    revoke(tmp_path / "krl", khan)
    krl = read_revoked(tmp_path / "krl")
    assert verified(people, good, revoked=krl).bad == ()
    assert flaw(verified(people, khan.signature(TEXT), revoked=krl)) is Flaw.REVOKED
    assert verified(people, good, Signature(khan.address, good.data)).bad == (Bad(khan.address, Flaw.PRINCIPAL),)


def test_dates_are_those_of_the_node(people: list[Person]) -> None:
    jones = people[0]
    line = jones.line(f'namespaces="{NAMESPACES}",valid-after="20300101Z",valid-before="20310101Z"')
    good = jones.signature(TEXT)
    assert verified(people, good, signers=line, now=datetime(2030, 6, 1, tzinfo=UTC)).bad == ()
    assert flaw(verified(people, good, signers=line, now=datetime(2031, 1, 1, tzinfo=UTC))) is Flaw.EXPIRED


def test_a_broken_revocation_list_lets_nobody_through(people: list[Person], tmp_path: Path) -> None:
    (tmp_path / "krl").write_text("hello\n")
    with pytest.raises(ConfigError, match="no key revocation list"):
        read_revoked(tmp_path / "krl")
    assert verified(people, people[0].signature(TEXT), revoked=b"SSHKRL\n\0garbage").good == ()


def test_signatures_lie_beside_the_text(people: list[Person], tmp_path: Path) -> None:
    text = tmp_path / "kent-1.change"
    text.write_bytes(TEXT)
    assert find_signatures(text) == ()
    for each in people[:2]:
        each.put(text)
    (tmp_path / "kent-2.change.a@b.example.sig").write_text("another node's")
    assert [each.principal for each in find_signatures(text)] == [each.address for each in people[:2]]
    link = tmp_path / f"{text.name}.x@y.example.sig"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="symbolic link"):
        find_signatures(text)
    link.unlink()
    link.write_bytes(b"x" * 20_000)
    with pytest.raises(ConfigError, match="larger than 16 KiB"):
        find_signatures(text)
    for number in range(16):
        (tmp_path / f"{text.name}.p{number}@y.example.sig").write_text("x")
    with pytest.raises(ConfigError, match="more than 16"):
        find_signatures(text)


def test_a_person_signs_and_the_name_is_theirs(people: list[Person], tmp_path: Path) -> None:
    text = tmp_path / "kent-1.change"
    text.write_bytes(TEXT)
    made = sign(text, people[0].key, CHANGE_NAMESPACE, people[0].address)
    assert made.name == f"kent-1.change.{people[0].address}.sig"
    assert verified(people, *find_signatures(text)).bad == ()
    with pytest.raises(RunError, match="did not sign"):
        sign(text, tmp_path / "none", CHANGE_NAMESPACE, people[0].address)


def test_without_ssh_keygen_its_package_is_named(people: list[Person], monkeypatch: pytest.MonkeyPatch) -> None:
    good = people[0].signature(TEXT)
    monkeypatch.setattr(signatures, "SSH_KEYGEN", "/nonexistent/ssh-keygen")
    with pytest.raises(RunError, match="openssh-client"):
        verified(people, good)


def test_a_tool_that_hangs_is_given_up(
    people: list[Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    good = people[0].signature(TEXT)
    slow = tmp_path / "ssh-keygen"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(signatures, "SSH_KEYGEN", str(slow))
    monkeypatch.setattr(signatures, "DEADLINE_S", 0.2)
    began = time.monotonic()
    assert flaw(verified(people, good)) is Flaw.TIMEOUT
    assert time.monotonic() - began < 10


def test_nothing_of_the_environment_reaches_it(
    people: list[Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    good = people[0].signature(TEXT)
    spy = tmp_path / "ssh-keygen"
    spy.write_text(f"#!/bin/sh\n/usr/bin/env > {tmp_path}/seen\nexit 1\n")
    spy.chmod(0o755)
    monkeypatch.setattr(signatures, "SSH_KEYGEN", str(spy))
    monkeypatch.setenv("SECRET_OF_MINE", "1")
    verified(people, good)
    seen = (tmp_path / "seen").read_text()
    assert "LC_ALL=C" in seen
    assert "SECRET_OF_MINE" not in seen
    assert "HOME" not in seen


def test_nothing_is_left_on_a_disk_however_it_ends(
    people: list[Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed while it verifies has no time to remove anything."""
    spy, seen = tmp_path / "ssh-keygen", tmp_path / "seen"
    spy.write_text(f'#!/bin/sh\nexec /usr/bin/readlink "$4" "${{10}}" /proc/self/fd/0 > {seen}\n')
    spy.chmod(0o755)
    good = people[0].signature(TEXT)
    monkeypatch.setattr(signatures, "SSH_KEYGEN", str(spy))
    verified(people, good)
    assert seen.read_text().split("\n")[:-1] == ["/memfd:pcgrelay-signed (deleted)"] * 3


def test_a_copy_cannot_be_changed_by_whoever_reads_it(
    people: list[Person], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy, wrote = tmp_path / "ssh-keygen", tmp_path / "wrote"
    spy.write_text(f'#!/bin/sh\n(echo x > "$4") 2> {wrote} || exit 1\n')
    spy.chmod(0o755)
    good = people[0].signature(TEXT)
    monkeypatch.setattr(signatures, "SSH_KEYGEN", str(spy))
    assert flaw(verified(people, good)) is Flaw.TEXT
    assert "not permitted" in wrote.read_text()


def test_copies_that_cannot_be_made_are_said_in_a_sentence(
    people: list[Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    good = people[0].signature(TEXT)
    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(signatures.os, "memfd_create", none)
    with pytest.raises(RunError, match=r"copies for ssh-keygen cannot be made \(too many open files\)"):
        verified(people, good)
    assert os.listdir("/proc/self/fd") == before
