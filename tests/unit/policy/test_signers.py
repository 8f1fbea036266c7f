"""allowed_signers: what OpenSSH takes and is not taken here is refused with its line."""

from __future__ import annotations

import base64
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pcgrelay.errors import ConfigError
from pcgrelay.policy.signers import parse_signers, read_signers, short_names
from tests.support.signing import make_people

PATH = Path("allowed_signers")
NAMES = 'namespaces="pcgrelay-change@1"'


def key(kind: str = "ssh-ed25519", *parts: bytes) -> str:
    blob = b"".join(struct.pack(">I", len(part)) + part for part in (kind.encode(), *(parts or (b"k" * 32,))))
    return f"{kind} {base64.b64encode(blob).decode()}"


GOOD = f"j.smith@kent.police.example {NAMES} {key()}\n"


def test_a_list_has_persons_keys_and_dates(tmp_path: Path) -> None:
    people = make_people(tmp_path / "keys", "j.smith", "a.jones")
    text = "# who may sign\n\n" + people[0].line()
    text += people[1].line(f'{NAMES},valid-after="20260101Z",valid-before="20270101120000Z"') + "\n"
    (tmp_path / "signers").write_text(text)
    _, (smith, jones) = read_signers(tmp_path / "signers")
    assert (smith.principal, smith.line, jones.line) == ("j.smith@kent.police.example", 3, 4)
    assert smith.fingerprint.startswith("SHA256:")
    assert smith.fingerprint != jones.fingerprint
    assert jones.valid_after == datetime(2026, 1, 1, tzinfo=UTC)
    assert jones.valid_before == datetime(2027, 1, 1, 12, tzinfo=UTC)
    assert not jones.is_valid(datetime(2025, 12, 31, tzinfo=UTC))
    assert jones.is_valid(datetime(2026, 1, 1, tzinfo=UTC))
    assert not jones.is_valid(datetime(2027, 1, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"*@kent.police.example {NAMES} {key()}\n", "literal address"),
        (f"j.smith@kent.police.example,a.jones@kent.police.example {NAMES} {key()}\n", "literal address"),
        (f"J.Smith@kent.police.example {NAMES} {key()}\n", "literal address"),
        (f"smith {NAMES} {key()}\n", "literal address"),
        (f'j.smith@kent.police.example cert-authority,{NAMES} {key()}\n', "cert-authority"),
        (f"j.smith@kent.police.example {key()}\n", "namespaces= is required"),
        (f'j.smith@kent.police.example namespaces="" {key()}\n', "namespaces= is required"),
        (f'j.smith@kent.police.example namespaces="pcgrelay-*" {key()}\n', "patterns"),
        (f'j.smith@kent.police.example namespaces="a,,b" {key()}\n', "empty"),
        (f'j.smith@kent.police.example {NAMES},valid-after="20260101" {key()}\n', "with the Z"),
        (f'j.smith@kent.police.example {NAMES},valid-before="20261301Z" {key()}\n', "no day"),
        (f'j.smith@kent.police.example {NAMES},valid-after="20270101Z",valid-before="20260101Z" {key()}\n', "never"),
        (f"j.smith@kent.police.example {NAMES},no-touch-required {key()}\n", "not taken"),
        (f"j.smith@kent.police.example {NAMES},{NAMES} {key()}\n", "twice"),
        (f'j.smith@kent.police.example {NAMES}x {key()}\n', "cannot be read"),
        (f"j.smith@kent.police.example {NAMES} ssh-dss AAAA\n", "not ssh-dss"),
        (f"j.smith@kent.police.example {NAMES} {key('ssh-ed25519-cert-v01@openssh.com')}\n", "one of these types"),
        (f"j.smith@kent.police.example {NAMES} ssh-ed25519 !!!!\n", "cannot be read"),
        (f"j.smith@kent.police.example {NAMES} ssh-rsa {key().split()[1]}\n", "not of the type"),
        (f"j.smith@kent.police.example {NAMES} {key('ssh-rsa', b'3', b'n' * 256)}\n", "3072 bits"),
        (f"j.smith@kent.police.example {NAMES}\n", "one of these types"),
        ("j.smith\n", "literal address"),
        (GOOD + f"a.jones@kent.police.example {NAMES} {key()}\n", "line 1 already"),
        (GOOD.replace("smith", "smіth"), "only ASCII"),
        (GOOD.replace("\n", "\r\n"), "control character"),
        ("# nobody\n", "names nobody"),
        ("#" * 70_000, "larger than 64 KiB"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        parse_signers(text.encode(), PATH)
    assert str(refused.value).startswith("allowed_signers")
    assert str(refused.value).isprintable()


def test_a_refusal_names_its_line() -> None:
    with pytest.raises(ConfigError, match=r"^allowed_signers:3: "):
        parse_signers(f"# a\n{GOOD}*@x {NAMES} {key()}\n".encode(), PATH)


def test_a_person_may_have_two_keys() -> None:
    other = key("ssh-ed25519", b"o" * 32)
    assert len(parse_signers(f"{GOOD}j.smith@kent.police.example {NAMES} {other}\n".encode(), PATH)) == 2


def test_names_are_short_where_nobody_else_is_called_so() -> None:
    names = ["j.smith@a.example", "j.smith@b.example", "k.lee@a.example"]
    assert list(short_names(names).values()) == ["j.smith@a.example", "j.smith@b.example", "k.lee"]
