"""allowed_signers: who may sign a change of the policy, in OpenSSH's format (ssh-keygen(1), ALLOWED SIGNERS).

OpenSSH allows more than is good here: patterns in place of names, one key under several names, authorities that sign
keys, times in the zone of the machine. Each is refused with its line, so that what a person reads in the file is what
the node counts.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded

SIGNERS_LIMIT_BYTES = 64 << 10
SIGNERS_MOST = 256
RSA_BITS_LEAST = 3_072
KEY_TYPES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
ADDRESS_RULE = "an address as j.smith@kent.police.example, of a-z, 0-9 and . _ + -"

_ADDRESS = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}@[a-z0-9](?:[a-z0-9.-]{0,188}[a-z0-9])?", re.ASCII)
_OPTION = re.compile(r'([A-Za-z-]+)(?:="([^"]*)")?(?:,|(?= )|$)')
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}", re.ASCII)
_TIME = re.compile(r"(\d{8})(\d{4})?(\d{2})?Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Signer:
    """One line: a person, their key, for what, and from when until when it signs."""

    principal: str
    key_type: str
    fingerprint: str  # as ssh-keygen -l prints it
    namespaces: tuple[str, ...]
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    line: int = 0

    def is_valid(self, now: datetime) -> bool:
        """Whether the key signs at that moment."""
        return (self.valid_after is None or now >= self.valid_after) and (
            self.valid_before is None or now < self.valid_before
        )


def is_address(text: str) -> bool:
    """Whether this is a literal address, as a principal has to be."""
    return _ADDRESS.fullmatch(text) is not None


def read_signers(path: Path) -> tuple[bytes, tuple[Signer, ...]]:
    """Read the file, whole; ConfigError with the line that is refused."""
    data = read_bounded(path, "list of signers", SIGNERS_LIMIT_BYTES)
    return data, parse_signers(data, path)


def parse_signers(data: bytes, path: Path) -> tuple[Signer, ...]:
    """Return the signers, in their order. ConfigError: the first line that is refused; path is named in it."""
    if len(data) > SIGNERS_LIMIT_BYTES:
        raise ConfigError(f"{path}: the list of signers is larger than {SIGNERS_LIMIT_BYTES >> 10} KiB.")
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: only ASCII stands in a list of signers; retype that line.") from None
    found: list[Signer] = []
    for signer in _signers(text, path):
        if len(found) == SIGNERS_MOST:
            raise ConfigError(f"{path}:{signer.line}: a list has at most {SIGNERS_MOST} signers.")
        if (same := next((each for each in found if each.fingerprint == signer.fingerprint), None)) is not None:
            raise ConfigError(
                f"{path}:{signer.line}: this key stands on line {same.line} already; a key has one person and one line."
            )
        found.append(signer)
    if not found:
        raise ConfigError(f"{path}: the list of signers names nobody; add a line for each person who may sign.")
    return tuple(found)


def _signers(text: str, path: Path) -> Iterator[Signer]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if problem := next((each for each in line if not each.isprintable()), ""):
            raise ConfigError(
                f"{path}:{number}: there is a control character (0x{ord(problem):02x}); retype that line."
            )
        try:
            yield _signer(line, number)
        except ValueError as error:
            raise ConfigError(f"{path}:{number}: {error}.") from None


def _signer(line: str, number: int) -> Signer:
    """Parse one line; ValueError says what is wrong with it."""
    principal, _, rest = line.partition(" ")
    if not is_address(principal):
        raise ValueError(
            f"a line begins with one literal address and a blank: {ADDRESS_RULE}; no patterns, no lists of addresses"
        )
    options, rest = _options(rest.lstrip(" "))
    words = rest.split()
    if len(words) < 2 or words[0] not in KEY_TYPES:
        named = words[0][:40] if words else "nothing"
        raise ValueError(f"behind the options stands a key of one of these types: {', '.join(KEY_TYPES)} (not {named})")
    blob = _blob(words[0], words[1])
    namespaces = options.get("namespaces", "")
    if not namespaces:
        raise ValueError(
            "namespaces= is required, so that a signature made for something else is none here; write for example "
            'namespaces="pcgrelay-change@1"'
        )
    names = tuple(namespaces.split(","))
    if wrong := next((name for name in names if not _NAMESPACE.fullmatch(name)), None):
        raise ValueError(f'"{wrong[:40]}" is no literal namespace; patterns are not taken')
    if not all(names):
        raise ValueError("namespaces= names an empty one")
    fingerprint = fingerprint_of(blob)
    after, before = _time(options, "valid-after"), _time(options, "valid-before")
    if after is not None and before is not None and after >= before:
        raise ValueError("valid-after is not before valid-before, so this key never signs")
    return Signer(principal, words[0], fingerprint, names, after, before, number)


def _options(text: str) -> tuple[dict[str, str], str]:
    """Return the options and what follows them; there may be none."""
    found: dict[str, str] = {}
    if text.split(" ", 1)[0] in KEY_TYPES:
        return found, text
    at = 0
    while match := _OPTION.match(text, at):
        name = match[1].lower()
        if name == "cert-authority":
            raise ValueError("cert-authority is not taken: each person has a key of their own in this file")
        if name not in ("namespaces", "valid-after", "valid-before") or match[2] is None:
            raise ValueError(
                f'"{match[0].rstrip(",")[:60]}" is not taken; there are namespaces=, valid-after=, valid-before='
            )
        if name in found:
            raise ValueError(f"{name}= stands twice")
        found[name] = match[2]
        at = match.end()
        if text[at - 1] != ",":
            break
    if at < len(text) and text[at] != " ":
        raise ValueError(f'the options cannot be read at "{text[at : at + 40]}"; write namespaces="..." and a blank')
    return found, text[at:]


def _time(options: dict[str, str], name: str) -> datetime | None:
    text = options.get(name)
    if text is None:
        return None
    if not (match := _TIME.fullmatch(text)):
        raise ValueError(f'{name}="{text[:40]}" is no time in UTC; write YYYYMMDDZ or YYYYMMDDHHMMSSZ, with the Z')
    try:
        return datetime.strptime(match[1] + (match[2] or "0000") + (match[3] or "00"), "%Y%m%d%H%M%S").replace(
            tzinfo=UTC
        )
    except ValueError:
        raise ValueError(f'{name}="{text}" is no day and time that there is') from None


def _blob(key_type: str, text: str) -> bytes:
    """Return a public key as it is on the wire (RFC 4253, 6.6); ValueError if it is none of that type."""
    try:
        blob = base64.b64decode(text, validate=True)
        parts = list(strings_of(blob))
    except (binascii.Error, ValueError):
        raise ValueError("the key cannot be read; copy the whole line of the .pub file") from None
    if not parts or parts[0] != key_type.encode():
        raise ValueError(f"the key is not of the type {key_type} that stands before it")
    if key_type == "ssh-rsa" and (len(parts) != 3 or len(parts[2].lstrip(b"\0")) * 8 < RSA_BITS_LEAST):
        raise ValueError(
            f"an RSA key has at least {RSA_BITS_LEAST} bits here; make an Ed25519 key (ssh-keygen -t ed25519)"
        )
    return blob


def strings_of(blob: bytes) -> Iterator[bytes]:
    """The strings of RFC 4251, section 5, one after the other; ValueError if they do not end where the blob does."""
    at = 0
    while at < len(blob):
        if len(blob) - at < 4:
            raise ValueError("cut off")
        (size,) = struct.unpack_from(">I", blob, at)
        at += 4
        if size > len(blob) - at:
            raise ValueError("cut off")
        yield blob[at : at + size]
        at += size


def fingerprint_of(blob: bytes) -> str:
    """Return the fingerprint of a public key, as ssh-keygen prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")


def short_names(principals: Sequence[str]) -> dict[str, str]:
    """Names for sentences: what stands before the @, where nobody else of these is called so."""
    short = [each.partition("@")[0] for each in principals]
    return {each: name if short.count(name) == 1 else each for each, name in zip(principals, short, strict=True)}
