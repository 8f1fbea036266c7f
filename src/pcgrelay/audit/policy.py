"""Whom a reader of a log trusts, C2SP tlog-policy: the logs, their witnesses, and how many of these must have signed.

    log pcgrelay.police.example/kent.police.example/kent-1+1e5f03a2+AW...
    witness relay-1 pcgrelay.police.example/hub.example/relay-1+70be1d5c+BG...
    quorum relay-1

A log has a line for each of its keys. A quorum is a witness, a group of `k` of its members, or `none`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from pcgrelay.audit.note import (
    COSIGNATURE_ED25519,
    COSIGNATURE_ML_DSA_44,
    ED25519,
    NoteRefused,
    NoteVerifier,
    Verified,
)
from pcgrelay.errors import ConfigError
from pcgrelay.files import read_bounded

POLICY_MOST_BYTES = 1 << 20
NAMES_MOST = 1_024  # C2SP: at least 32 logs, 32 witnesses and 32 groups
NOBODY = "none"
LOG_TYPES = (ED25519, COSIGNATURE_ML_DSA_44)
WITNESS_TYPES = (COSIGNATURE_ED25519, COSIGNATURE_ML_DSA_44)
_NUMBER = re.compile(r"[0-9]{1,4}", re.ASCII)
_FORBIDDEN = re.compile(rb"[\x00-\x08\x0b-\x1f\x7f]")


class Group(Struct, frozen=True):
    """So many of the members must have signed."""

    least: int
    members: tuple[str, ...]


class Policy(Struct, frozen=True):
    """A policy that was read; an existing object is valid."""

    logs: tuple[NoteVerifier, ...]
    witnesses: Mapping[str, NoteVerifier]
    groups: Mapping[str, Group]
    quorum: str

    def logs_of(self, origin: str) -> tuple[NoteVerifier, ...]:
        """The keys by which that log signs."""
        return tuple(each for each in self.logs if each.name == origin)

    def is_met(self, verified: Collection[Verified]) -> bool:
        """Whether these signatures are enough of the witnesses."""
        by = {each.by for each in verified}
        return self._holds(self.quorum, {name for name, key in self.witnesses.items() if key in by})

    def _holds(self, name: str, signed: Collection[str]) -> bool:
        # A name is a member of one group at most, and of none that stands before it, so this ends.
        if name == NOBODY:
            return True
        group = self.groups.get(name)
        if group is None:
            return name in signed
        return sum(self._holds(member, signed) for member in group.members) >= group.least


def read_policy(path: Path) -> Policy:
    """Read a policy from a file. ConfigError: it is none, with the line."""
    return parse_policy(read_bounded(path, "policy of the audit log", POLICY_MOST_BYTES), str(path))


def parse_policy(data: bytes, where: str) -> Policy:
    """where begins the sentence of a refusal: the path of the file."""
    if not data.endswith(b"\n"):
        raise ConfigError(f"{where}: the last line of a policy has no end; add a newline.")
    reading = _Reading()
    for number, line in enumerate(data.split(b"\n")[:-1], 1):
        try:
            reading.line(line)
        except _Wrong as wrong:
            raise ConfigError(f"{where}:{number}: {wrong}.") from None
    if reading.quorum is None:
        raise ConfigError(f"{where}: a policy has one quorum line, and here is none; add: quorum none")
    return Policy(tuple(reading.logs), reading.witnesses, reading.groups, reading.quorum)


class _Wrong(Exception):
    """What is wrong with a line, without an end."""


class _Reading:
    """A policy while it is read."""

    def __init__(self) -> None:
        self.logs: list[NoteVerifier] = []
        self.witnesses: dict[str, NoteVerifier] = {}
        self.groups: dict[str, Group] = {}
        self.quorum: str | None = None
        self._members: set[str] = set()

    def line(self, line: bytes) -> None:
        if _FORBIDDEN.search(line):
            raise _Wrong("a policy has no control characters but tabs and newlines; remove them")
        # Names are bytes to the specification. This keeps any two apart, and none of them is shown.
        words = line.decode(errors="surrogateescape").replace("\t", " ").split(" ")
        match [word for word in words if word]:
            case []:
                pass
            case [word, *_] if word.startswith("#"):
                pass
            case ["log", vkey] | ["log", vkey, _]:
                self._log(vkey)
            case ["witness", name, vkey] | ["witness", name, vkey, _]:
                self._witness(name, vkey)
            case ["group", name, least, *members]:
                self._group(name, least, members)
            case ["quorum", name]:
                self._quorum(name)
            case _:
                raise _Wrong(
                    "a line is log VKEY [URL], witness NAME VKEY [URL], group NAME all|any|K NAME..., or quorum NAME"
                )

    def _log(self, vkey: str) -> None:
        key = _key(vkey, LOG_TYPES, "a log signs")
        if any(each.public == key.public for each in self.logs):
            raise _Wrong("another log line has the same key; remove one")
        if len(self.logs) >= NAMES_MOST:
            raise _Wrong(f"a policy has at most {NAMES_MOST} logs")
        self.logs.append(key)

    def _witness(self, name: str, vkey: str) -> None:
        self._new(name)
        key = _key(vkey, WITNESS_TYPES, "a witness signs")
        if any(each.public == key.public for each in self.witnesses.values()):
            raise _Wrong("another witness has the same key; remove one")
        self.witnesses[name] = key

    def _group(self, name: str, least: str, members: Sequence[str]) -> None:
        self._new(name)
        if not members or len(set(members)) != len(members):
            raise _Wrong("a group has one member or more, and names each once")
        for member in members:
            if member not in self.witnesses and member not in self.groups:
                raise _Wrong("a member of a group is a witness or a group of a line before")
            if member in self._members:
                raise _Wrong("a name is a member of one group alone")
        number = {"all": len(members), "any": 1}.get(least) or (int(least) if _NUMBER.fullmatch(least) else 0)
        if not 1 <= number <= len(members):
            raise _Wrong(f"so many of a group's {len(members)} are all, any, or a number from 1 to {len(members)}")
        self._members.update(members)
        self.groups[name] = Group(number, tuple(members))

    def _quorum(self, name: str) -> None:
        if self.quorum is not None:
            raise _Wrong("a policy has one quorum line, and this is another; remove one")
        if name != NOBODY and name not in self.witnesses and name not in self.groups:
            raise _Wrong("a quorum is none, or a witness or a group of a line before")
        self.quorum = name

    def _new(self, name: str) -> None:
        if name == NOBODY or name in self.witnesses or name in self.groups:
            raise _Wrong("this name is taken; choose another")
        if len(self.witnesses) + len(self.groups) >= NAMES_MOST:
            raise _Wrong(f"a policy has at most {NAMES_MOST} witnesses and groups")


def _key(vkey: str, types: Collection[int], what: str) -> NoteVerifier:
    try:
        key = NoteVerifier.parse(vkey)
    except NoteRefused as refusal:
        raise _Wrong(str(refusal).removesuffix(".")) from None
    if key.kind not in types:
        raise _Wrong(f"{what} by keys of the types {', '.join(f'{kind:#04x}' for kind in types)}; this is another")
    return key
