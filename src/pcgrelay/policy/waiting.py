"""Texts beside a configuration that wait for signatures, or to be taken: found for those who look at a node.

Nothing is decided by this. Signatures are counted by their files; whether they are good is found when the text is
taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pcgrelay.errors import PcgrelayError
from pcgrelay.policy.acts import ACTS, act_path
from pcgrelay.policy.change import Change, Head, parse_act, parse_change
from pcgrelay.policy.gate import Paper, change_path, read_paper
from pcgrelay.policy.signed_text import Misspelt

CHANGE = "change"


@dataclass(frozen=True, slots=True)
class Holding:
    """What a node knows when it looks for texts: of itself, of what holds, and which texts are used up or held."""

    node: str  # dotted name
    realm: str
    digest: str  # of the policy that holds
    used: Collection[str] = ()  # SHA-256 of texts that were taken or carried out
    holds: Mapping[str, tuple[str, ...]] | None = None  # SHA-256 of a change: who holds it


@dataclass(frozen=True, slots=True)
class Waiting:
    """One text that can still be taken."""

    what: str  # change, or the name of an act
    number: str  # where changes are kept, as CR-1042
    until: datetime  # it has to be taken before
    signatures: int  # files beside it, not verified
    held: bool = False


def waiting_texts(path: Path, holding: Holding, now: datetime) -> tuple[Waiting, ...]:
    """Return the texts beside a configuration that wait. Blocks. What cannot be read is passed over."""
    return tuple(_waiting(path, holding, now))


def _waiting(path: Path, holding: Holding, now: datetime) -> Iterator[Waiting]:
    paper = _paper(change_path(path))
    if paper is not None and (change := _change(paper.data)) is not None and change.before == holding.digest:
        is_held = bool((holding.holds or {}).get(paper.sha256))
        if _is_good(paper, change.head, holding, now):
            yield Waiting(CHANGE, change.head.change, change.head.until, _count(paper, change.head), is_held)
    for act in ACTS:
        paper = _paper(act_path(path, act))
        head = None if paper is None else _act_head(paper.data, act)
        if paper is not None and head is not None and _is_good(paper, head, holding, now):
            yield Waiting(act, head.change, head.until, _count(paper, head))


def _is_good(paper: Paper, head: Head, holding: Holding, now: datetime) -> bool:
    is_here = (head.node, head.realm) == (holding.node, holding.realm)
    return is_here and now < head.until and paper.sha256 not in holding.used


def _count(paper: Paper, head: Head) -> int:
    """Who proposes it does not count, whatever they sign."""
    return sum(each.principal != head.by for each in paper.signatures)


def _paper(path: Path) -> Paper | None:
    try:
        return read_paper(path)
    except PcgrelayError:
        return None


def _change(data: bytes) -> Change | None:
    try:
        return parse_change(data)
    except Misspelt:
        return None


def _act_head(data: bytes, act: str) -> Head | None:
    try:
        parsed = parse_act(data)
    except Misspelt:
        return None
    return parsed.head if parsed.act == act else None
