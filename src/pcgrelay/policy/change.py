"""A change of the policy, and an act beside it, as texts that people read and sign."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pcgrelay.model import NodeId
from pcgrelay.policy.signed_text import Form, Line, Misspelt, Spelling, plain, plain_lines
from pcgrelay.policy.signers import is_address

WIDENS, NARROWS, NEUTRAL = "WIDENS", "NARROWS", "NEUTRAL"
KINDS = (WIDENS, NARROWS, NEUTRAL)
NONE = "none"  # in place of a digest: nothing was approved before
VALUE_MOST = 200
LIFE_MOST = timedelta(days=14)  # of a text, from when it was made until it has to be taken
LIFE = timedelta(days=3)

_HEAD = ("by", "made", "change", "reason")
CHANGE = Form("pcgrelay change, version 1", ("node", "before", "after", *_HEAD), KINDS)
ACT = Form("pcgrelay act, version 1", ("node", "act", "sha256", *_HEAD), ("TEXT",))

_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_MADE = re.compile(r"(\S+), to be taken before (\S+)", re.ASCII)
_ACT_NAME = re.compile(r"[a-z][a-z -]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Head:
    """What both kinds of text say about themselves."""

    node: str
    realm: str
    by: str  # who proposes it, and may not sign it
    made: datetime  # UTC, whole seconds
    until: datetime  # it has to be taken before
    change: str  # the number it has where changes are kept
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of the policy from one digest to another."""

    head: Head
    before: str  # digest, 64 hex digits; "" if nothing was approved before
    after: str
    lines: tuple[Line, ...]

    def render(self) -> bytes:
        """Return the text. Misspelt: something in it cannot stand there."""
        values = {"before": self.before or NONE, "after": self.after, **_head_values(self.head)}
        return CHANGE.render(values, self.lines)


@dataclass(frozen=True, slots=True)
class Act:
    """An act that needs the same signatures as a change: its name, and the text that says what is done."""

    head: Head
    act: str
    sha256: str  # of the text's bytes
    lines: tuple[Line, ...]

    def render(self) -> bytes:
        """Return the text. Misspelt: something in it cannot stand there."""
        return ACT.render({"act": self.act, "sha256": self.sha256, **_head_values(self.head)}, self.lines)


def make_act(head: Head, act: str, text: str) -> Act:
    """Return the act of that text."""
    return Act(head, act, hashlib.sha256(text.encode()).hexdigest(), text_lines(text))


def text_lines(text: str) -> tuple[Line, ...]:
    """The lines in which an act shows the text that it is about: without empty ones, which say nothing."""
    return tuple(Line("TEXT", shown) for line in text.split("\n") for shown in plain_lines(line) if shown)


def make_head(node: NodeId, by: str, made: datetime, change: str, reason: str, life: timedelta = LIFE) -> Head:
    """Return a head for a text that is made now. Misspelt: a value cannot stand there."""
    made = made.astimezone(UTC).replace(microsecond=0)
    head = Head(node.dotted, node.realm, by, made, made + life, change, reason)
    _check_head(head)
    return head


def parse_change(data: bytes) -> Change:
    """Read a change strictly. Misspelt says why it is none."""
    values, lines = CHANGE.parse(data)
    before = "" if values["before"] == NONE else _digest("before", values["before"])
    if not lines:
        raise Misspelt(Spelling.FIELD, "it changes nothing")
    return Change(_head(values), before, _digest("after", values["after"]), lines)


def parse_act(data: bytes) -> Act:
    """Read an act strictly. Misspelt says why it is none."""
    values, lines = ACT.parse(data)
    if not _ACT_NAME.fullmatch(values["act"]):
        raise Misspelt(Spelling.FIELD, "act is no name of an act")
    return Act(_head(values), values["act"], _digest("sha256", values["sha256"]), lines)


def ordered(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Lines with what widens first."""
    return tuple(sorted(lines, key=lambda line: KINDS.index(line.kind)))


def time_shown(moment: datetime) -> str:
    """A moment as a text has it: UTC, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _head_values(head: Head) -> dict[str, str]:
    return {
        "node": f"{head.node}, realm {head.realm}",
        "by": head.by,
        "made": f"{time_shown(head.made)}, to be taken before {time_shown(head.until)}",
        "change": head.change,
        "reason": head.reason,
    }


def _head(values: dict[str, str]) -> Head:
    node, comma, realm = values["node"].partition(", realm ")
    if not comma:
        raise Misspelt(Spelling.FIELD, "node is not NAME.ORGANISATION, realm REALM")
    if not (match := _MADE.fullmatch(values["made"])):
        raise Misspelt(Spelling.FIELD, "made is not TIME, to be taken before TIME")
    head = Head(node, realm, values["by"], _time(match[1]), _time(match[2]), values["change"], values["reason"])
    _check_head(head)
    return head


def _check_head(head: Head) -> None:
    if not is_address(head.by):
        raise Misspelt(Spelling.FIELD, "by is no literal address, as j.smith@kent.police.example")
    for name, value in (("change", head.change), ("reason", head.reason)):
        if not value or value != plain(value) or len(value) > VALUE_MOST:
            raise Misspelt(Spelling.FIELD, f"{name} is not 1 to {VALUE_MOST} characters of printable ASCII on one line")
    if not head.made < head.until <= head.made + LIFE_MOST:
        raise Misspelt(Spelling.FIELD, f"it is not to be taken within {LIFE_MOST.days} days of when it was made")


def _digest(name: str, text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise Misspelt(Spelling.FIELD, f"{name} is not 64 hexadecimal digits in lower case")
    return text


def _time(text: str) -> datetime:
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        moment = None
    if moment is None or time_shown(moment) != text:
        raise Misspelt(Spelling.FIELD, "made has a time that is not as 2026-11-03T09:12:00Z")
    return moment
