"""What a change of the configuration does: each difference widens what is allowed, narrows it, or does neither (pure).

`placement` says of each key how it is judged. Here stand the rules that need more than one value: entries that are
added or removed, listeners that move, networks, and the contents of files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from pcgrelay.config import BearerSettings, Config
from pcgrelay.model import Marking
from pcgrelay.policy.digest import PolicyFiles
from pcgrelay.policy.judging import Difference, Kind, changed, shown
from pcgrelay.policy.placement import BEARER, LISTEN, TABLES, Key, Table
from pcgrelay.policy.revoked import holds_all

NO_FILES = PolicyFiles()
_MARKINGS = list(Marking)


def classify(
    old: Config | None, new: Config, old_files: PolicyFiles = NO_FILES, new_files: PolicyFiles = NO_FILES
) -> tuple[Difference, ...]:
    """Return all differences, in the order of the file's tables. old: None for a policy before which there was none."""
    found: list[Difference] = []
    for table in TABLES:
        if table is BEARER:
            found += _bearers(() if old is None else old.bearers, new.bearers)
        found += _table(table, [] if old is None else [*table.entries(old)], [*table.entries(new)])
    found += _lines("approvals.signers", old_files.signers, new_files.signers)
    found += _authorities(old_files.trust, new_files.trust)
    found += _revoked(old_files.revoked, new_files.revoked)
    return tuple(found) if old is not None else tuple(Difference(Kind.WIDENS, each.sentence) for each in found)


def widening(differences: tuple[Difference, ...]) -> tuple[Difference, ...]:
    """Return those for which signatures are needed."""
    return tuple(each for each in differences if each.kind is Kind.WIDENS)


# -- tables ------------------------------------------------------------------------------------------------


def _table(table: Table, old: list[Any], new: list[Any]) -> Iterator[Difference]:
    if table is BEARER:
        return
    if not table.named_by:
        yield from _single(table, old, new)
        return
    before, after = _by_name(table, old), _by_name(table, new)
    if table is LISTEN:
        yield from _moved(before, after)
    for name, entry in before.items():
        if name not in after:
            yield Difference(table.removal, f"{_prefix(table, entry)}removed")
    for name, entry in after.items():
        if name not in before:
            yield Difference(Kind.WIDENS, f"{_prefix(table, entry)}added")
            yield from _whole(table, entry)
        elif before[name] != entry:
            yield from _compared(table, before[name], entry)
    if table.is_ordered:
        yield from _orders(
            table, [name for name in before if name in after], [name for name in after if name in before]
        )


def _single(table: Table, old: list[Any], new: list[Any]) -> Iterator[Difference]:
    """A table that occurs once."""
    if old and new and old != new:
        yield from _compared(table, old[0], new[0])
    elif old and not new:
        yield Difference(Kind.WIDENS, f"{table.name}: removed, so that {table.without}")
    elif new and not old:
        kind = Kind.NARROWS if table.without else Kind.WIDENS
        if table.without:
            yield Difference(kind, f"{table.name}: added")
        yield from _whole(table, new[0], kind)


def _by_name(table: Table, entries: list[Any]) -> dict[tuple[Any, ...], Any]:
    # Several listeners may be on one bearer: in this node its address tells them apart.
    names = {*table.named_by, "address"} if table is LISTEN else set(table.named_by)
    keys = [key for key in table.keys if key.name in names]
    return {tuple(key.value(entry) for key in keys): entry for entry in entries}


def _prefix(table: Table, entry: Any) -> str:
    return f"{table.name} {shown(table.title(entry))}: " if table.named_by else f"{table.name}."


def _compared(table: Table, old: Any, new: Any) -> Iterator[Difference]:
    """The differences of two entries with one name."""
    prefix = _prefix(table, new)
    for key in table.keys:
        before, after = key.value(old), key.value(new)
        if before != after and key.name not in table.named_by:
            for each in key.judge(key.name, before, after):
                yield Difference(each.kind, prefix + each.sentence)


def _whole(table: Table, entry: Any, kind: Kind = Kind.WIDENS) -> Iterator[Difference]:
    """What an entry that was not there before says."""
    prefix = _prefix(table, entry)
    for key in table.keys:
        value = key.value(entry)
        if key.is_local or key.name in table.named_by or value == key.default:
            continue
        for words in _said(key, value):
            yield Difference(kind, prefix + words)


def _said(key: Key, value: Any) -> Iterator[str]:
    if isinstance(key.default, dict):
        yield from (each.sentence for each in key.judge(key.name, key.default, value))
    else:
        yield f"{key.name} {shown(value)}"


def _orders(table: Table, old: list[tuple[Any, ...]], new: list[tuple[Any, ...]]) -> Iterator[Difference]:
    """All of them are allowed: which comes first is a preference."""
    for of in dict.fromkeys(name[0] for name in new):
        if [name for name in old if name[0] == of] != [name for name in new if name[0] == of]:
            yield Difference(Kind.NEUTRAL, f"{table.name} outlets of {of} in another order")


def _moved(old: dict[tuple[Any, ...], Any], new: dict[tuple[Any, ...], Any]) -> Iterator[Difference]:
    """Take out listeners that differ from one of before in their address alone, which is this machine's matter."""
    for name, entry in list(new.items()):
        if name in old:
            continue
        for other, before in list(old.items()):
            if other not in new and _policy_of(before) == _policy_of(entry):
                del new[name], old[other]
                words = changed("address", str(before.address), str(entry.address))
                yield Difference(Kind.NEUTRAL, f"listen {entry.bearer}: {words}")
                break


def _policy_of(listen: Any) -> list[Any]:
    return [key.value(listen) for key in LISTEN.keys if not key.is_local]


# -- networks ----------------------------------------------------------------------------------------------


def _bearers(old: tuple[BearerSettings, ...], new: tuple[BearerSettings, ...]) -> Iterator[Difference]:
    """What each network may carry, named or not.

    Without any table nothing is enforced on links, and a direct outlet is for OFFICIAL; with one, a network without a
    table is for OFFICIAL.
    """
    before, after = {each.name: each for each in old}, {each.name: each for each in new}
    if before and not after:
        yield Difference(Kind.WIDENS, "bearer: none is described any more, so links carry every marking")
    if after and not before:
        yield Difference(Kind.NARROWS, "bearer: networks are described, so links carry what theirs may")
    for name in dict.fromkeys([*before, *after]):
        was, now = before.get(name, BearerSettings(name=name)), after.get(name, BearerSettings(name=name))
        raised = _MARKINGS.index(now.marking) - _MARKINGS.index(was.marking)
        what = "" if name in before and name in after else "added, " if name in after else "removed, "
        kind = Kind.WIDENS if raised > 0 else Kind.NARROWS if raised < 0 else Kind.NEUTRAL
        words = changed("marking", was.marking.value, now.marking.value) if raised else f"marking {now.marking.value}"
        if raised or what:
            yield Difference(kind, f"bearer {name}: {what}{words}")
        if was.supported_until != now.supported_until:
            key = next(key for key in BEARER.keys if key.name == "supported_until")
            for each in key.judge(key.name, was.supported_until, now.supported_until):
                yield Difference(each.kind, f"bearer {name}: {each.sentence}")


# -- contents of files -------------------------------------------------------------------------------------

_KEY_DATA = re.compile(rb"(?<!\S)AAAA[A-Za-z0-9+/]+={0,2}(?!\S)")


def _lines(key: str, old: bytes, new: bytes) -> Iterator[Difference]:
    """A file of one entry a line, whose order means nothing."""
    if old == new:
        return
    before, after = _entries(old), _entries(new)
    for line in sorted(after - before):
        yield Difference(Kind.WIDENS, f"{key}: {_line_words(line)} added")
    for line in sorted(before - after):
        yield Difference(Kind.NARROWS, f"{key}: {_line_words(line)} removed")
    if before == after:
        yield Difference(Kind.NEUTRAL, f"{key}: the same entries, written otherwise")


def _entries(content: bytes) -> set[bytes]:
    lines = (line.strip() for line in content.splitlines())
    return {line for line in lines if line and not line.startswith(b"#")}


def _line_words(line: bytes) -> str:
    """Return a line with the fingerprint of its key, as ssh-keygen -l shows it, instead of the key."""
    return shown(_KEY_DATA.sub(_fingerprint, line).decode("ascii", "backslashreplace"))


def _fingerprint(match: re.Match[bytes]) -> bytes:
    try:
        data = base64.b64decode(match[0], validate=True)
    except binascii.Error:
        return match[0]
    return b"SHA256:" + base64.b64encode(hashlib.sha256(data).digest()).rstrip(b"=")


def _authorities(old: bytes, new: bytes) -> Iterator[Difference]:
    """The certificates of the CAs that are trusted."""
    if old == new:
        return
    try:
        before, after = _certificates(old), _certificates(new)
    except ValueError:
        yield Difference(Kind.WIDENS, "identity.trust: its contents are others")
        return
    for mark in sorted(after.keys() - before.keys()):
        yield Difference(Kind.WIDENS, f"identity.trust: {after[mark]} added")
    for mark in sorted(before.keys() - after.keys()):
        yield Difference(Kind.NARROWS, f"identity.trust: {before[mark]} removed")
    if before.keys() == after.keys():
        yield Difference(Kind.NEUTRAL, "identity.trust: the same certificates, written otherwise")


def _certificates(content: bytes) -> dict[bytes, str]:
    found = x509.load_pem_x509_certificates(content) if content else []
    marks = {each.fingerprint(SHA256()): each for each in found}
    return {mark: f"{shown(each.subject.rfc4514_string())} SHA-256 {mark.hex()}" for mark, each in marks.items()}


def _revoked(old: bytes, new: bytes) -> Iterator[Difference]:
    """Keys that count no more: with fewer of them more is allowed."""
    if old == new:
        return
    if not old:
        yield Difference(Kind.NARROWS, f"approvals.revoked: a list of {len(new)} bytes")
    elif not new:
        yield Difference(Kind.WIDENS, "approvals.revoked: no list any more")
    elif holds_all(new, old):
        yield Difference(Kind.NARROWS, "approvals.revoked: all keys of before, and more")
    else:
        yield Difference(Kind.WIDENS, f"approvals.revoked: another list, of {len(new)} bytes")
